//! Which part of a file is asked for: RFC 9110, section 14. One range; who asks for several gets
//! the whole file.

/// What a `Range` header means for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requested {
    All,
    /// Offset and length in bytes; never empty.
    Part(u64, u64),
    /// No byte of the file is in the range: 416.
    Nothing,
}

/// Reads a `Range` header for a file of so many bytes. What is no range of bytes is passed over.
pub fn requested(header: Option<&str>, length: u64) -> Requested {
    match header.and_then(parse) {
        None => Requested::All,
        Some(Bounds::From(first, last)) if first < length => {
            let last = last.unwrap_or(u64::MAX).min(length - 1);
            Requested::Part(first, last - first + 1)
        }
        Some(Bounds::Last(count)) if count > 0 && length > 0 => {
            let count = count.min(length);
            Requested::Part(length - count, count)
        }
        Some(_) => Requested::Nothing,
    }
}

enum Bounds {
    From(u64, Option<u64>),
    Last(u64),
}

fn parse(header: &str) -> Option<Bounds> {
    let (unit, range) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse().ok(),
        false => None,
    };
    match (first, last) {
        ("", last) => Some(Bounds::Last(number(last)?)),
        (first, "") => Some(Bounds::From(number(first)?, None)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Bounds::From(first, Some(last)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Requested::{All, Nothing, Part};
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_file() {
        for (header, expected) in [
            ("bytes=0-0", Part(0, 1)),
            ("bytes=2-4", Part(2, 3)),
            ("bytes=2-", Part(2, 8)),
            ("bytes=2-99", Part(2, 8)),
            ("bytes=-3", Part(7, 3)),
            ("bytes=-99", Part(0, 10)),
            ("bytes=10-", Nothing),
            ("bytes=-0", Nothing),
        ] {
            assert_eq!(requested(Some(header), 10), expected, "{header}");
        }
        assert_eq!(requested(Some("bytes=-1"), 0), Nothing);
    }

    #[test]
    fn what_is_no_range_asks_for_all() {
        for header in ["", "bytes", "bytes=", "bytes=a-b", "bytes=4-2", "bytes=0-1,3-4", "rows=0-1"]
        {
            assert_eq!(requested(Some(header), 10), All, "{header}");
        }
        assert_eq!(requested(Some("bytes=+1-2"), 10), All);
        assert_eq!(requested(None, 10), All);
    }
}
