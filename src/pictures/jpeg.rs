//! JPEG: a large photo is decoded small, so that its size does not matter.

use image::RgbaImage;
use image::metadata::Orientation;
use jpeg_decoder::{CodingProcess, Decoder, PixelFormat};
use myelin_protocol::media::thumbnail::{Size, plan};

use super::{PIXELS_MAX, PictureError, broken};

/// The most pixels of a photo that comes row by row.
const ROWS_PIXELS_MAX: u64 = 100_000_000;

/// Width and height in pixels.
pub fn dimensions(bytes: &[u8]) -> Result<(u32, u32), PictureError> {
    let mut decoder = Decoder::new(bytes);
    decoder.read_info().map_err(broken)?;
    let info = decoder.info().ok_or_else(|| broken("it has no header"))?;
    Ok((info.width.into(), info.height.into()))
}

/// Decodes at an eighth, a quarter or half of the size, if that is enough.
pub fn decode(bytes: &[u8], size: Size) -> Result<(RgbaImage, Orientation), PictureError> {
    let mut decoder = Decoder::new(bytes);
    decoder.read_info().map_err(broken)?;
    let info = decoder.info().ok_or_else(|| broken("it has no header"))?;
    let pixels = u64::from(info.width) * u64::from(info.height);
    // A progressive one is held as a whole, in coefficients.
    let pixels_max = match info.coding_process {
        CodingProcess::DctSequential => ROWS_PIXELS_MAX,
        CodingProcess::DctProgressive | CodingProcess::Lossless => PIXELS_MAX,
    };
    if pixels > pixels_max {
        return Err(PictureError::TooLarge(pixels));
    }
    let orientation = decoder.exif_data().and_then(Orientation::from_exif_chunk);
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    let picture = (u32::from(info.width), u32::from(info.height));
    let (width, height) = plan(picture, turned(size, orientation)).scaled;
    let (width, height) = decoder.scale(to_u16(width), to_u16(height)).map_err(broken)?;
    let decoded_pixels = u64::from(width) * u64::from(height);
    if decoded_pixels > PIXELS_MAX {
        return Err(PictureError::TooLarge(pixels));
    }
    let data = decoder.decode().map_err(broken)?;
    let data = match info.pixel_format {
        PixelFormat::L8 => rgba(data.into_iter().map(|l| [l, l, l])),
        PixelFormat::RGB24 => rgba(data.chunks_exact(3).map(|p| [p[0], p[1], p[2]])),
        PixelFormat::CMYK32 => rgba(data.chunks_exact(4).map(rgb_of_cmyk)),
        PixelFormat::L16 => return Err(PictureError::Unsupported),
    };
    let picture = RgbaImage::from_raw(width.into(), height.into(), data);
    let picture = picture.ok_or_else(|| broken("it is shorter than it says"))?;
    Ok((picture, orientation))
}

/// The size as it is before the picture is turned.
fn turned(size: Size, orientation: Orientation) -> Size {
    match orientation {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => Size { width: size.height, height: size.width, ..size },
        _ => size,
    }
}

fn to_u16(side: u32) -> u16 {
    u16::try_from(side).unwrap_or(u16::MAX)
}

fn rgba(pixels: impl Iterator<Item = [u8; 3]>) -> Vec<u8> {
    pixels.flat_map(|[r, g, b]| [r, g, b, u8::MAX]).collect()
}

fn rgb_of_cmyk(pixel: &[u8]) -> [u8; 3] {
    let mix = |ink: u8| (u16::from(255 - ink) * u16::from(255 - pixel[3]) / 255) as u8;
    [mix(pixel[0]), mix(pixel[1]), mix(pixel[2])]
}
