//! Small pictures of large ones. Pure: bytes in, bytes out.
//!
//! Invariant: how large a picture is is known before it is decoded; what would not fit into an
//! isolate's memory is refused.

mod animation;
mod jpeg;

use std::io::Cursor;

use image::codecs::gif::GifDecoder;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{PngDecoder, PngEncoder};
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageFormat, Limits, RgbaImage,
    imageops,
};
use myelin_protocol::media::thumbnail::{Plan, Size, plan};

/// The most pixels of a picture that is decoded as a whole: 4 bytes each.
pub const PIXELS_MAX: u64 = 12_000_000;

/// The largest file that is made a thumbnail of, in bytes.
pub const FILE_BYTES_MAX: u64 = 24 * 1024 * 1024;

/// Of JPEG: small files, and nothing that a person would see at this size.
const JPEG_QUALITY: u8 = 80;

/// What decoding may take beside the picture itself.
const DECODING_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A picture that is finished.
#[derive(Debug)]
pub struct Picture {
    pub bytes: Vec<u8>,
    pub content_type: &'static str,
    pub width: u32,
    pub height: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    #[error("it is no picture of a kind that thumbnails are made of (JPEG, PNG, GIF, WebP)")]
    Unsupported,
    #[error("the picture has {0} pixels, which are too many")]
    TooLarge(u64),
    #[error("the picture cannot be read: {0}")]
    Broken(String),
}

/// Width and height of a picture in pixels, from its header.
///
/// # Errors
/// If it is no picture.
pub fn dimensions(bytes: &[u8]) -> Result<(u32, u32), PictureError> {
    match format(bytes)? {
        ImageFormat::Jpeg => jpeg::dimensions(bytes),
        format => Ok(decoder(bytes, format)?.dimensions()),
    }
}

/// Makes a picture as small as `size`; a moving one only if it is asked for and moves.
///
/// # Errors
/// See [`PictureError`].
pub fn thumbnail(bytes: &[u8], size: Size, animated: bool) -> Result<Picture, PictureError> {
    let format = format(bytes)?;
    if animated && let Some(moving) = animation::thumbnail(bytes, format, size)? {
        return Ok(moving);
    }
    let (picture, orientation) = match format {
        ImageFormat::Jpeg => jpeg::decode(bytes, size)?,
        _ => decode(bytes, format)?,
    };
    let picture = turn(picture, orientation);
    encode(&shrink(picture, size), format)
}

fn format(bytes: &[u8]) -> Result<ImageFormat, PictureError> {
    match image::guess_format(bytes) {
        Ok(
            format @ (ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::Gif | ImageFormat::WebP),
        ) => Ok(format),
        _ => Err(PictureError::Unsupported),
    }
}

fn decoder(bytes: &[u8], format: ImageFormat) -> Result<Box<dyn ImageDecoder + '_>, PictureError> {
    let input = Cursor::new(bytes);
    let mut decoder: Box<dyn ImageDecoder> = match format {
        ImageFormat::Png => Box::new(PngDecoder::new(input).map_err(broken)?),
        ImageFormat::Gif => Box::new(GifDecoder::new(input).map_err(broken)?),
        ImageFormat::WebP => Box::new(WebPDecoder::new(input).map_err(broken)?),
        _ => return Err(PictureError::Unsupported),
    };
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(DECODING_BYTES_MAX);
    decoder.set_limits(limits).map_err(broken)?;
    Ok(decoder)
}

fn decode(bytes: &[u8], format: ImageFormat) -> Result<(RgbaImage, Orientation), PictureError> {
    let mut decoder = decoder(bytes, format)?;
    check_pixels(decoder.dimensions())?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    Ok((picture.into_rgba8(), orientation))
}

fn check_pixels((width, height): (u32, u32)) -> Result<(), PictureError> {
    match u64::from(width) * u64::from(height) {
        pixels if pixels > PIXELS_MAX => Err(PictureError::TooLarge(pixels)),
        _ => Ok(()),
    }
}

/// Turns a picture the way that its camera was held.
fn turn(picture: RgbaImage, orientation: Orientation) -> RgbaImage {
    let turned = match orientation {
        Orientation::NoTransforms | Orientation::FlipHorizontal => picture,
        Orientation::Rotate180 | Orientation::FlipVertical => imageops::rotate180(&picture),
        Orientation::Rotate90 | Orientation::Rotate90FlipH => imageops::rotate90(&picture),
        Orientation::Rotate270 | Orientation::Rotate270FlipH => imageops::rotate270(&picture),
    };
    let is_mirrored = matches!(
        orientation,
        Orientation::FlipHorizontal
            | Orientation::FlipVertical
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    if is_mirrored { imageops::flip_horizontal(&turned) } else { turned }
}

fn shrink(picture: RgbaImage, size: Size) -> RgbaImage {
    let Plan { scaled, cut } = plan(picture.dimensions(), size);
    let small = match picture.dimensions() == scaled {
        true => picture,
        false => imageops::thumbnail(&picture, scaled.0, scaled.1),
    };
    if cut == scaled {
        return small;
    }
    let (left, top) = ((scaled.0 - cut.0) / 2, (scaled.1 - cut.1) / 2);
    imageops::crop_imm(&small, left, top, cut.0, cut.1).to_image()
}

fn encode(picture: &RgbaImage, source: ImageFormat) -> Result<Picture, PictureError> {
    let (width, height) = picture.dimensions();
    let is_opaque = picture.pixels().all(|pixel| pixel[3] == u8::MAX);
    let is_photo = matches!(source, ImageFormat::Jpeg | ImageFormat::WebP) && is_opaque;
    let mut bytes = Vec::new();
    if is_photo {
        let rgb: Vec<u8> = picture.pixels().flat_map(|p| [p[0], p[1], p[2]]).collect();
        let encoder = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY);
        encoder.write_image(&rgb, width, height, ExtendedColorType::Rgb8).map_err(broken)?;
    } else {
        let encoder = PngEncoder::new(&mut bytes);
        encoder.write_image(picture, width, height, ExtendedColorType::Rgba8).map_err(broken)?;
    }
    let content_type = if is_photo { "image/jpeg" } else { "image/png" };
    Ok(Picture { bytes, content_type, width, height })
}

fn broken(error: impl std::fmt::Display) -> PictureError {
    PictureError::Broken(error.to_string())
}

#[cfg(test)]
mod tests;
