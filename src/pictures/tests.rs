use std::io::Cursor;

use image::codecs::gif::{GifEncoder, Repeat};
use image::{DynamicImage, Frame, ImageFormat, Rgb, RgbImage, RgbaImage};
use myelin_protocol::media::thumbnail::{Method, Size};

use super::*;

const CROP: Size = Size { width: 96, height: 96, method: Method::Crop };
const SCALE: Size = Size { width: 320, height: 240, method: Method::Scale };

/// Left half red, right half blue.
fn two_halves(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, _| match x < width / 2 {
        true => Rgb([255, 0, 0]),
        false => Rgb([0, 0, 255]),
    })
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    picture.into().write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

fn moving_gif(frames: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    encoder.set_repeat(Repeat::Infinite).unwrap();
    for _ in 0..frames {
        encoder.encode_frame(Frame::new(RgbaImage::new(400, 200))).unwrap();
    }
    drop(encoder);
    bytes
}

#[test]
fn every_kind_is_scaled_and_cropped() {
    for (format, content_type) in [
        (ImageFormat::Jpeg, "image/jpeg"),
        (ImageFormat::Png, "image/png"),
        (ImageFormat::Gif, "image/png"),
        (ImageFormat::WebP, "image/jpeg"),
    ] {
        let source = encoded(two_halves(1_000, 500), format);
        for (size, expected) in [(SCALE, (320, 160)), (CROP, (96, 96))] {
            let small = thumbnail(&source, size, false).unwrap();
            assert_eq!((small.width, small.height), expected, "{format:?}");
            assert_eq!(small.content_type, content_type);
            let picture = image::load_from_memory(&small.bytes).unwrap().to_rgb8();
            assert_eq!(picture.dimensions(), expected);
            let (left, right) = (picture.get_pixel(5, 50), picture.get_pixel(expected.0 - 5, 50));
            assert!(left[0] > 200 && left[2] < 50, "{format:?} {left:?}");
            assert!(right[2] > 200 && right[0] < 50, "{format:?} {right:?}");
        }
    }
}

#[test]
fn what_is_transparent_stays_so() {
    let source = encoded(RgbaImage::new(500, 500), ImageFormat::WebP);
    let small = thumbnail(&source, CROP, false).unwrap();
    assert_eq!(small.content_type, "image/png");
    assert_eq!(image::load_from_memory(&small.bytes).unwrap().to_rgba8().get_pixel(0, 0)[3], 0);
}

#[test]
fn a_picture_moves_only_when_asked_to() {
    let source = moving_gif(3);
    let still = thumbnail(&source, SCALE, false).unwrap();
    assert_eq!(still.content_type, "image/png");
    let moving = thumbnail(&source, SCALE, true).unwrap();
    assert_eq!((moving.content_type, moving.width, moving.height), ("image/gif", 320, 160));
    let frames = animation::frame_count(&moving.bytes);
    assert_eq!(frames, 3);
    let one = thumbnail(&moving_gif(1), SCALE, true).unwrap();
    assert_eq!(one.content_type, "image/png");
    let many = thumbnail(&moving_gif(201), SCALE, true).unwrap();
    assert_eq!(many.content_type, "image/png");
}

/// A PNG that says it has this size, and nothing else.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = encoded(RgbImage::new(1, 1), ImageFormat::Png);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, bit: u32| (crc >> 1) ^ (0xedb8_8320 & (bit.wrapping_neg()));
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc, crc & 1))
    })
}

#[test]
fn a_bomb_is_refused_before_it_is_decoded() {
    let bomb = png_header(40_000, 40_000);
    assert_eq!(dimensions(&bomb), Ok((40_000, 40_000)));
    for animated in [false, true] {
        let refused = thumbnail(&bomb, CROP, animated).unwrap_err();
        assert_eq!(refused, PictureError::TooLarge(1_600_000_000));
    }
    let mut jpeg = encoded(RgbImage::new(8, 8), ImageFormat::Jpeg);
    let start = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[start + 5..start + 9].copy_from_slice(&[0x9c, 0x40, 0x9c, 0x40]);
    assert_eq!(thumbnail(&jpeg, CROP, false).unwrap_err(), PictureError::TooLarge(1_600_000_000));
}

#[test]
fn a_large_photo_is_decoded_small() {
    let source = encoded(two_halves(4_200, 2_800), ImageFormat::Jpeg);
    let (decoded, _) = jpeg::decode(&source, SCALE).unwrap();
    assert!(decoded.width() < 1_000, "{}", decoded.width());
    let small = thumbnail(&source, SCALE, false).unwrap();
    assert_eq!((small.width, small.height), (320, 213));
}

#[test]
fn what_is_no_picture_is_said_to_be_none() {
    for bytes in [&b""[..], b"text", b"<svg xmlns='http://www.w3.org/2000/svg'/>"] {
        assert_eq!(thumbnail(bytes, CROP, true).unwrap_err(), PictureError::Unsupported);
    }
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP] {
        let mut bytes = encoded(two_halves(100, 100), format);
        bytes.truncate(bytes.len() / 3);
        // Some decoders show what there is of it.
        let _ = thumbnail(&bytes, CROP, true);
        bytes.truncate(16);
        assert!(matches!(thumbnail(&bytes, CROP, true), Err(PictureError::Broken(_))));
    }
}
