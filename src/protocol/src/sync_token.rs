//! Positions that clients keep: `since`, `next_batch`, `prev_batch`, `from`, `to`.
//!
//! The form is Synapse's, so that tokens stay valid when a database moves between the two.
//! Invariant: a token that was written is read back equal.

use std::{collections::BTreeMap, fmt, str::FromStr};

/// The token is none of ours. The errcode is `M_INVALID_PARAM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Invalid stream token")]
pub struct InvalidToken;

impl InvalidToken {
    pub fn errcode(&self) -> &'static str {
        "M_INVALID_PARAM"
    }
}

/// A position of a stream that several processes once wrote to: all of it up to `stream`, and
/// of single writers (by instance id) some more. We have one writer, and write `stream` alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct WriterPositions {
    pub stream: i64,
    pub writers: BTreeMap<i64, i64>,
}

impl From<i64> for WriterPositions {
    fn from(stream: i64) -> Self {
        Self { stream, writers: BTreeMap::new() }
    }
}

/// A position in the events.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RoomStreamToken {
    /// `s12`, `m12~1.14`: right after the event with this stream ordering.
    Live(WriterPositions),
    /// `t3-12`: right after this event in topological order, for going back in history.
    Historic { topological: i64, stream: i64 },
}

impl RoomStreamToken {
    pub fn live(stream: i64) -> Self {
        Self::Live(stream.into())
    }

    pub fn historic(topological: i64, stream: i64) -> Self {
        Self::Historic { topological, stream }
    }

    /// The stream ordering up to which everything has been seen.
    pub fn stream(&self) -> i64 {
        match self {
            Self::Live(positions) => positions.stream,
            Self::Historic { stream, .. } => *stream,
        }
    }
}

/// A position in every stream at once, in Synapse's order.
///
/// Shorter tokens, of earlier versions or for pagination (`t3-12`), read as zero in the rest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamToken {
    pub room_key: RoomStreamToken,
    pub presence_key: i64,
    pub typing_key: i64,
    pub receipt_key: WriterPositions,
    pub account_data_key: i64,
    pub push_rules_key: i64,
    pub to_device_key: i64,
    pub device_list_key: WriterPositions,
    /// No longer used by anyone; kept in its place.
    pub groups_key: i64,
    pub un_partial_stated_rooms_key: i64,
    pub thread_subscriptions_key: i64,
    pub sticky_events_key: i64,
    pub quarantined_media_key: WriterPositions,
}

impl StreamToken {
    /// A token that has a position in the events only.
    pub fn at(room_key: RoomStreamToken) -> Self {
        Self {
            room_key,
            presence_key: 0,
            typing_key: 0,
            receipt_key: 0.into(),
            account_data_key: 0,
            push_rules_key: 0,
            to_device_key: 0,
            device_list_key: 0.into(),
            groups_key: 0,
            un_partial_stated_rooms_key: 0,
            thread_subscriptions_key: 0,
            sticky_events_key: 0,
            quarantined_media_key: 0.into(),
        }
    }

    /// The same token at another place in the events, for `prev_batch` and pagination.
    pub fn with_room_key(&self, room_key: RoomStreamToken) -> Self {
        Self { room_key, ..self.clone() }
    }
}

impl fmt::Display for WriterPositions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.writers.is_empty() {
            return write!(formatter, "{}", self.stream);
        }
        write!(formatter, "m{}", self.stream)?;
        for (instance, position) in &self.writers {
            write!(formatter, "~{instance}.{position}")?;
        }
        Ok(())
    }
}

impl fmt::Display for RoomStreamToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live(positions) if positions.writers.is_empty() => {
                write!(formatter, "s{}", positions.stream)
            }
            Self::Live(positions) => write!(formatter, "{positions}"),
            Self::Historic { topological, stream } => write!(formatter, "t{topological}-{stream}"),
        }
    }
}

impl fmt::Display for StreamToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}_{}_{}_{}_{}_{}_{}_{}_{}_{}_{}_{}_{}",
            self.room_key,
            self.presence_key,
            self.typing_key,
            self.receipt_key,
            self.account_data_key,
            self.push_rules_key,
            self.to_device_key,
            self.device_list_key,
            self.groups_key,
            self.un_partial_stated_rooms_key,
            self.thread_subscriptions_key,
            self.sticky_events_key,
            self.quarantined_media_key,
        )
    }
}

impl FromStr for WriterPositions {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let Some(text) = text.strip_prefix('m') else {
            return Ok(parse_position(text)?.into());
        };
        let mut parts = text.split('~');
        let stream = parse_position(parts.next().unwrap_or_default())?;
        // Some old tokens end in `~`.
        let writers = parts.filter(|part| !part.is_empty()).map(|part| {
            let (instance, position) = part.split_once('.').ok_or(InvalidToken)?;
            Ok((parse_position(instance)?, parse_position(position)?))
        });
        Ok(Self { stream, writers: writers.collect::<Result<_, _>>()? })
    }
}

impl FromStr for RoomStreamToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        if let Some(stream) = text.strip_prefix('s') {
            return Ok(Self::live(parse_position(stream)?));
        }
        if let Some(text) = text.strip_prefix('t') {
            let (topological, stream) = text.split_once('-').ok_or(InvalidToken)?;
            return Ok(Self::historic(parse_position(topological)?, parse_position(stream)?));
        }
        if text.starts_with('m') {
            return Ok(Self::Live(text.parse()?));
        }
        Err(InvalidToken)
    }
}

impl FromStr for StreamToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let mut parts = text.split('_');
        let room_key = parts.next().unwrap_or_default().parse()?;
        let mut next = || parts.next().unwrap_or("0");
        let token = Self {
            room_key,
            presence_key: parse_position(next())?,
            typing_key: parse_position(next())?,
            receipt_key: next().parse()?,
            account_data_key: parse_position(next())?,
            push_rules_key: parse_position(next())?,
            to_device_key: parse_position(next())?,
            device_list_key: next().parse()?,
            groups_key: parse_position(next())?,
            un_partial_stated_rooms_key: parse_position(next())?,
            thread_subscriptions_key: parse_position(next())?,
            sticky_events_key: parse_position(next())?,
            quarantined_media_key: next().parse()?,
        };
        if parts.next().is_some() { Err(InvalidToken) } else { Ok(token) }
    }
}

/// A whole number without plus sign, within what the database and JSON hold exactly.
fn parse_position(text: &str) -> Result<i64, InvalidToken> {
    const POSITION_MAX: u64 = 1 << 53;
    if text.starts_with('+') {
        return Err(InvalidToken);
    }
    let position: i64 = text.parse().map_err(|_| InvalidToken)?;
    if position.unsigned_abs() < POSITION_MAX { Ok(position) } else { Err(InvalidToken) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONGEST: &str = "s2633508_17_338_6732159_1082514_541479_274711_265584_1_379_4242_4141_43";

    #[test]
    fn a_full_token_has_every_field_in_its_place() {
        let token: StreamToken = LONGEST.parse().unwrap();
        assert_eq!(token.to_string(), LONGEST);
        assert_eq!(token.room_key, RoomStreamToken::live(2_633_508));
        assert_eq!((token.presence_key, token.typing_key), (17, 338));
        assert_eq!(token.receipt_key, 6_732_159.into());
        assert_eq!((token.account_data_key, token.push_rules_key), (1_082_514, 541_479));
        assert_eq!((token.to_device_key, token.groups_key), (274_711, 1));
        assert_eq!(token.device_list_key, 265_584.into());
        assert_eq!(token.un_partial_stated_rooms_key, 379);
        assert_eq!((token.thread_subscriptions_key, token.sticky_events_key), (4242, 4141));
        assert_eq!(token.quarantined_media_key, 43.into());
    }

    #[test]
    fn shorter_tokens_are_zero_in_the_rest() {
        let token: StreamToken = "s5_1".parse().unwrap();
        assert_eq!(token.to_string(), "s5_1_0_0_0_0_0_0_0_0_0_0_0");
        let token: StreamToken = "t12--3".parse().unwrap();
        assert_eq!(token, StreamToken::at(RoomStreamToken::historic(12, -3)));
    }

    #[test]
    fn tokens_of_several_writers_are_read() {
        let token: StreamToken = "m56~2.58~3.59_0_0_m7~1.9".parse().unwrap();
        assert_eq!(token.room_key.stream(), 56);
        assert_eq!(token.to_string(), "m56~2.58~3.59_0_0_m7~1.9_0_0_0_0_0_0_0_0_0");
        let odd: RoomStreamToken = "m5~".parse().unwrap();
        assert_eq!(odd, RoomStreamToken::live(5));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "sx",
            "s1.5",
            "t5",
            "t-5",
            "t5-",
            "x5",
            "s+5",
            "s5_",
            "s5_x",
            "m",
            "m5~x",
            "m5~1",
            "m5~1.2.3",
            "s 5",
            "s99999999999999999999",
            "s9007199254740992",
            "s1_0_0_0_0_0_0_0_0_0_0_0_0_0",
            "null",
        ] {
            assert_eq!(text.parse::<StreamToken>(), Err(InvalidToken), "{text:?}");
        }
    }

    fn position() -> impl Strategy<Value = i64> {
        -(1_i64 << 53) + 1..(1_i64 << 53)
    }

    fn writers() -> impl Strategy<Value = WriterPositions> {
        (position(), prop::collection::btree_map(position(), position(), 0..4))
            .prop_map(|(stream, writers)| WriterPositions { stream, writers })
    }

    fn room_key() -> impl Strategy<Value = RoomStreamToken> {
        let historic = (0..1_i64 << 53, position());
        prop_oneof![
            writers().prop_map(RoomStreamToken::Live),
            historic.prop_map(|(depth, stream)| RoomStreamToken::historic(depth, stream)),
        ]
    }

    proptest! {
        #[test]
        fn every_token_survives_a_round_trip(
            room_key in room_key(),
            receipts in writers(),
            device_lists in writers(),
            media in writers(),
            keys in prop::array::uniform9(position()),
        ) {
            let token = StreamToken {
                room_key,
                presence_key: keys[0],
                typing_key: keys[1],
                receipt_key: receipts,
                account_data_key: keys[2],
                push_rules_key: keys[3],
                to_device_key: keys[4],
                device_list_key: device_lists,
                groups_key: keys[5],
                un_partial_stated_rooms_key: keys[6],
                thread_subscriptions_key: keys[7],
                sticky_events_key: keys[8],
                quarantined_media_key: media,
            };
            prop_assert_eq!(token.to_string().parse::<StreamToken>(), Ok(token));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[stm0-9_~.-]*|.*") {
            if let Ok(token) = text.parse::<StreamToken>() {
                prop_assert_eq!(token.to_string().parse::<StreamToken>(), Ok(token));
            }
        }
    }
}
