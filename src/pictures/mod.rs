//! Small pictures of large ones. Pure: bytes in, bytes out.
//!
//! Invariant: how large a picture is is known before it is decoded; what would not fit into an
//! isolate's memory is refused.

mod animation;
mod jpeg;

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
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
    format(bytes)?;
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    reader.map_err(broken)?.into_dimensions().map_err(broken)
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
    let mut picture = picture;
    picture.apply_orientation(orientation);
    encode(&shrink(&picture, plan((picture.width(), picture.height()), size)), format)
}

fn format(bytes: &[u8]) -> Result<ImageFormat, PictureError> {
    match image::guess_format(bytes) {
        Ok(
            format @ (ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::Gif | ImageFormat::WebP),
        ) => Ok(format),
        _ => Err(PictureError::Unsupported),
    }
}

fn decode(bytes: &[u8], format: ImageFormat) -> Result<(DynamicImage, Orientation), PictureError> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(DECODING_BYTES_MAX);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    check_pixels(decoder.dimensions())?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    Ok((DynamicImage::from_decoder(decoder).map_err(broken)?, orientation))
}

fn check_pixels((width, height): (u32, u32)) -> Result<(), PictureError> {
    match u64::from(width) * u64::from(height) {
        pixels if pixels > PIXELS_MAX => Err(PictureError::TooLarge(pixels)),
        _ => Ok(()),
    }
}

fn shrink(picture: &DynamicImage, plan: Plan) -> DynamicImage {
    let (width, height) = plan.scaled;
    let scaled = match (picture.width(), picture.height()) == plan.scaled {
        true => picture.clone(),
        false => picture.thumbnail_exact(width, height),
    };
    if plan.cut == plan.scaled {
        return scaled;
    }
    let (left, top) = ((width - plan.cut.0) / 2, (height - plan.cut.1) / 2);
    scaled.crop_imm(left, top, plan.cut.0, plan.cut.1)
}

fn encode(picture: &DynamicImage, source: ImageFormat) -> Result<Picture, PictureError> {
    let is_opaque = !picture.color().has_alpha();
    let is_photo = matches!(source, ImageFormat::Jpeg | ImageFormat::WebP) && is_opaque;
    let mut bytes = Vec::new();
    if is_photo {
        let encoder = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY);
        picture.to_rgb8().write_with_encoder(encoder).map_err(broken)?;
    } else {
        let small = match is_opaque {
            true => DynamicImage::from(picture.to_rgb8()),
            false => DynamicImage::from(picture.to_rgba8()),
        };
        small.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).map_err(broken)?;
    }
    let content_type = if is_photo { "image/jpeg" } else { "image/png" };
    Ok(Picture { bytes, content_type, width: picture.width(), height: picture.height() })
}

fn broken(error: impl std::fmt::Display) -> PictureError {
    PictureError::Broken(error.to_string())
}

#[cfg(test)]
mod tests;
