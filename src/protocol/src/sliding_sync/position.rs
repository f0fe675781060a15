//! Where a connection stands: `12/s5_0_...`, in Synapse's form. The number is that of the
//! connection's state, 0 if it has none; the rest is the position in the streams.

use std::fmt;
use std::str::FromStr;

use crate::sync_token::{InvalidToken, StreamToken};

/// A `pos`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub connection: i64,
    pub streams: StreamToken,
}

impl FromStr for Position {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let (connection, streams) = text.split_once('/').ok_or(InvalidToken)?;
        let connection = connection.parse().map_err(|_| InvalidToken)?;
        Ok(Self { connection, streams: streams.parse()? })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.connection, self.streams)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_was_written() {
        let text = "5/s2633508_17_338_6732159_1082514_541479_274711_265584_1_379_0_0_0";
        let position: Position = text.parse().unwrap();
        assert_eq!((position.connection, position.to_string().as_str()), (5, text));
        for bad in ["", "5", "s5_1", "x/s5_1", "5/", "5/5"] {
            assert!(bad.parse::<Position>().is_err(), "{bad}");
        }
    }
}
