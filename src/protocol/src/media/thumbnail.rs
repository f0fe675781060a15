//! Which thumbnail is made: Client-Server API, "Thumbnails". What is asked for is rounded up to
//! one of a few sizes, so that nobody can fill the bucket with variations.

/// How a picture is brought to its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Fills the size; what sticks out is cut off.
    Crop,
    /// Fits into the size.
    Scale,
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crop => "crop",
            Self::Scale => "scale",
        }
    }
}

/// A size in pixels, and the way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub width: u32,
    pub height: u32,
    pub method: Method,
}

const fn size(width: u32, height: u32, method: Method) -> Size {
    Size { width, height, method }
}

/// Synapse's, which clients have come to expect, and the largest one that the specification names.
const SIZES: [Size; 5] = [
    size(32, 32, Method::Crop),
    size(96, 96, Method::Crop),
    size(320, 240, Method::Scale),
    size(640, 480, Method::Scale),
    size(800, 600, Method::Scale),
];

/// The size that serves a request best: the smallest that is as large as what was asked for, by
/// the same method if there is one.
pub fn size_for(width: u32, height: u32, method: Method) -> Size {
    let is_enough = |size: &&Size| size.width >= width && size.height >= height;
    let of_method = || SIZES.iter().filter(|size| size.method == method);
    let chosen = of_method().find(is_enough).copied();
    // A larger crop than those above has the shape that was asked for, no larger than the largest.
    let largest = SIZES[SIZES.len() - 1];
    chosen.unwrap_or_else(|| match method {
        Method::Scale => largest,
        Method::Crop => {
            let side = width.max(height).next_power_of_two().min(largest.width);
            size(side, side, Method::Crop)
        }
    })
}

/// Whether a thumbnail with these sides is the one of this size: it reaches the size on one side
/// at least, or it reaches none at all, since the picture itself is that small.
pub fn is_of_size((width, height): (u32, u32), size: Size) -> bool {
    let fits = width <= size.width && height <= size.height;
    let reaches = |size: &Size| width == size.width || height == size.height;
    let mut of_method = SIZES.iter().filter(|other| other.method == size.method);
    fits && (reaches(&size) || !of_method.any(reaches))
}

/// What becomes of a picture: first it is scaled to a size, then the middle of it is cut out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub scaled: (u32, u32),
    pub cut: (u32, u32),
}

/// How a picture of this size is brought to `size`. It is never made larger.
pub fn plan(picture: (u32, u32), size: Size) -> Plan {
    let (width, height) = (u64::from(picture.0.max(1)), u64::from(picture.1.max(1)));
    let (wanted_width, wanted_height) = (u64::from(size.width), u64::from(size.height));
    let by_width = wanted_width * height <= wanted_height * width;
    let fits_width = match size.method {
        Method::Scale => by_width,
        Method::Crop => !by_width,
    };
    let (scaled_width, scaled_height) = match fits_width {
        true => (wanted_width, (wanted_width * height / width).max(1)),
        false => ((wanted_height * width / height).max(1), wanted_height),
    };
    let is_larger = scaled_width > width || scaled_height > height;
    let scaled = match is_larger {
        true => picture,
        false => (to_u32(scaled_width), to_u32(scaled_height)),
    };
    let cut = match size.method {
        Method::Scale => scaled,
        Method::Crop => (scaled.0.min(size.width), scaled.1.min(size.height)),
    };
    Plan { scaled, cut }
}

fn to_u32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_rounded_up() {
        let chosen = |width, height, method| {
            let size = size_for(width, height, method);
            (size.width, size.height, size.method)
        };
        assert_eq!(chosen(1, 1, Method::Crop), (32, 32, Method::Crop));
        assert_eq!(chosen(33, 20, Method::Crop), (96, 96, Method::Crop));
        assert_eq!(chosen(200, 100, Method::Crop), (256, 256, Method::Crop));
        assert_eq!(chosen(9_000, 1, Method::Crop), (800, 800, Method::Crop));
        assert_eq!(chosen(30, 30, Method::Scale), (320, 240, Method::Scale));
        assert_eq!(chosen(321, 30, Method::Scale), (640, 480, Method::Scale));
        assert_eq!(chosen(u32::MAX, u32::MAX, Method::Scale), (800, 600, Method::Scale));
    }

    #[test]
    fn a_thumbnail_is_found_by_its_sides() {
        let (small, large) = (SIZES[2], SIZES[3]);
        for picture in [(1_000, 500), (500, 1_000), (400, 30), (320, 240)] {
            let sides = plan(picture, small).cut;
            assert!(is_of_size(sides, small), "{picture:?}");
            assert!(!is_of_size(sides, large), "{picture:?}");
        }
        let itself = plan((50, 20), small).cut;
        assert!(is_of_size(itself, small) && is_of_size(itself, large));
        assert!(!is_of_size((640, 480), small));
    }

    #[test]
    fn a_scaled_picture_fits_and_a_cropped_one_fills() {
        let wide = (1_000, 500);
        let scaled = plan(wide, size(320, 240, Method::Scale));
        assert_eq!(scaled, Plan { scaled: (320, 160), cut: (320, 160) });
        let cropped = plan(wide, size(96, 96, Method::Crop));
        assert_eq!(cropped, Plan { scaled: (192, 96), cut: (96, 96) });
        let tall = plan((500, 1_000), size(96, 96, Method::Crop));
        assert_eq!(tall, Plan { scaled: (96, 192), cut: (96, 96) });
    }

    #[test]
    fn a_small_picture_stays_as_it_is() {
        let small = plan((50, 20), size(320, 240, Method::Scale));
        assert_eq!(small, Plan { scaled: (50, 20), cut: (50, 20) });
        let small = plan((50, 20), size(32, 32, Method::Crop));
        assert_eq!(small, Plan { scaled: (50, 20), cut: (32, 20) });
        let line = plan((10_000, 1), size(320, 240, Method::Scale));
        assert_eq!(line.scaled, (320, 1));
    }
}
