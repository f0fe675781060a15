//! Tokens of a place in a room's timeline, in Synapse's shape: `t5-42` (historic: after the event
//! of depth 5 and stream ordering 42) or `s42` (live). What a sync token says of other streams
//! follows after an underscore, and is not read here.

use std::fmt;

use crate::error::ApiError;
use crate::storage::event_pages::Place;

impl Place {
    /// Reads the room's part of a pagination or sync token.
    ///
    /// # Errors
    /// `M_INVALID_PARAM`.
    pub fn parse(token: &str) -> Result<Self, ApiError> {
        let room_part = token.split('_').next().unwrap_or_default();
        Self::parse_room_part(room_part)
            .ok_or_else(|| ApiError::invalid_param("That is not a pagination token"))
    }

    fn parse_room_part(text: &str) -> Option<Self> {
        if let Some(live) = text.strip_prefix('s') {
            return Some(Self { topological: None, stream: position(live)? });
        }
        if let Some(several) = text.strip_prefix('m') {
            // `m42~1.43~...`: the least that all writers have reached comes first.
            let least = several.split('~').next()?;
            return Some(Self { topological: None, stream: position(least)? });
        }
        let (topological, stream) = text.strip_prefix('t')?.split_once('-')?;
        Some(Self { topological: Some(position(topological)?), stream: position(stream)? })
    }
}

/// An integer that a database and a JavaScript number hold.
fn position(text: &str) -> Option<i64> {
    text.parse().ok().filter(|value: &i64| value.unsigned_abs() < 1 << 53)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.topological {
            Some(topological) => write!(f, "t{topological}-{}", self.stream),
            None => write!(f, "s{}", self.stream),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_every_form_are_read() {
        let historic = |topological, stream| Place { topological: Some(topological), stream };
        let live = |stream| Place { topological: None, stream };
        assert_eq!(Place::parse("t5-42").unwrap(), historic(5, 42));
        assert_eq!(Place::parse("t5--3_0_0_0").unwrap(), historic(5, -3));
        assert_eq!(Place::parse("s42_1_2_3_4_5_6_7_8_9").unwrap(), live(42));
        assert_eq!(Place::parse("m42~1.43~2.50_1").unwrap(), live(42));
        assert_eq!(historic(5, -3).to_string(), "t5--3");
        assert_eq!(live(7).to_string(), "s7");
    }

    #[test]
    fn anything_else_is_the_callers_fault() {
        for token in ["", "x", "s", "t5", "t-5", "s1.5", "t99999999999999999999-1", "s-", "1"] {
            assert_eq!(Place::parse(token).unwrap_err().status(), 400, "{token}");
        }
    }
}
