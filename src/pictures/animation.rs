//! Moving pictures: a thumbnail that moves is a GIF.

use std::io::Cursor;

use image::codecs::gif::{GifDecoder, GifEncoder, Repeat};
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{AnimationDecoder, Frame, Frames, ImageDecoder, ImageFormat};
use myelin_protocol::media::thumbnail::Size;

use super::{Picture, PictureError, broken, check_pixels, shrink};

/// The most frames, and the most pixels of all frames together: more stand still.
const FRAMES_MAX: usize = 200;
const FRAME_PIXELS_MAX: u64 = 60_000_000;

/// Fast rather than fine: the quantiser's largest step.
const SPEED: i32 = 30;

/// `None` if the picture does not move, or too much of it does.
pub fn thumbnail(
    bytes: &[u8],
    format: ImageFormat,
    size: Size,
) -> Result<Option<Picture>, PictureError> {
    let Some((frames, pixels)) = open(bytes, format)? else { return Ok(None) };
    let mut small = Vec::new();
    for frame in frames {
        let frame = frame.map_err(broken)?;
        let is_too_much = (small.len() as u64 + 1) * pixels > FRAME_PIXELS_MAX;
        if small.len() >= FRAMES_MAX || is_too_much {
            return Ok(None);
        }
        let delay = frame.delay();
        small.push(Frame::from_parts(shrink(frame.into_buffer(), size), 0, 0, delay));
    }
    if small.len() < 2 {
        return Ok(None);
    }
    encode(small).map(Some)
}

/// The frames, and how many pixels each has.
fn open(bytes: &[u8], format: ImageFormat) -> Result<Option<(Frames<'_>, u64)>, PictureError> {
    let input = Cursor::new(bytes);
    let checked = |dimensions: (u32, u32)| {
        check_pixels(dimensions)?;
        Ok::<_, PictureError>(u64::from(dimensions.0) * u64::from(dimensions.1))
    };
    Ok(match format {
        ImageFormat::Gif => {
            let decoder = GifDecoder::new(input).map_err(broken)?;
            let pixels = checked(decoder.dimensions())?;
            Some((decoder.into_frames(), pixels))
        }
        ImageFormat::WebP => {
            let decoder = WebPDecoder::new(input).map_err(broken)?;
            let pixels = checked(decoder.dimensions())?;
            decoder.has_animation().then(|| (decoder.into_frames(), pixels))
        }
        ImageFormat::Png => {
            let decoder = PngDecoder::new(input).map_err(broken)?;
            let pixels = checked(decoder.dimensions())?;
            match decoder.is_apng().map_err(broken)? {
                true => Some((decoder.apng().map_err(broken)?.into_frames(), pixels)),
                false => None,
            }
        }
        _ => None,
    })
}

fn encode(frames: Vec<Frame>) -> Result<Picture, PictureError> {
    let (width, height) = frames.first().map_or((0, 0), |frame| frame.buffer().dimensions());
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut bytes, SPEED);
    encoder.set_repeat(Repeat::Infinite).map_err(broken)?;
    encoder.encode_frames(frames).map_err(broken)?;
    drop(encoder);
    Ok(Picture { bytes, content_type: "image/gif", width, height })
}

#[cfg(test)]
pub fn frame_count(gif: &[u8]) -> usize {
    GifDecoder::new(Cursor::new(gif)).map_or(0, |decoder| decoder.into_frames().count())
}
