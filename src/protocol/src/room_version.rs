//! The room versions that this server speaks, and the rules of each.
//!
//! Spec: <https://spec.matrix.org/latest/rooms/>

use ruma::{RoomVersionId, room_version_rules::RoomVersionRules};

/// Every supported room version, oldest first. All of them are stable.
pub const SUPPORTED: [RoomVersionId; 12] = [
    RoomVersionId::V1,
    RoomVersionId::V2,
    RoomVersionId::V3,
    RoomVersionId::V4,
    RoomVersionId::V5,
    RoomVersionId::V6,
    RoomVersionId::V7,
    RoomVersionId::V8,
    RoomVersionId::V9,
    RoomVersionId::V10,
    RoomVersionId::V11,
    RoomVersionId::V12,
];

/// What a new room gets when nobody says otherwise.
pub const DEFAULT: RoomVersionId = RoomVersionId::V12;

/// The rules of a supported room version; `None` for any other string.
pub fn rules_of(version: &str) -> Option<RoomVersionRules> {
    find_supported(version)?.rules()
}

/// The supported room version of that name.
pub fn find_supported(version: &str) -> Option<RoomVersionId> {
    SUPPORTED.into_iter().find(|supported| supported.as_str() == version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twelve_stable_versions_are_supported_and_nothing_else() {
        for version in 1..=12 {
            assert!(rules_of(&version.to_string()).is_some(), "version {version}");
        }
        for version in ["0", "13", "", "v1", "org.matrix.msc2870", "12 "] {
            assert!(rules_of(version).is_none(), "version {version}");
        }
    }
}
