//! The specification's vectors that are about identifiers and requests. Those about events stand
//! beside the modules that they test.

use ruma::{
    EventId, RoomAliasId, RoomId, RoomVersionId, ServerName, UserId,
    serde::{
        Base64,
        base64::{Standard, UrlSafe},
    },
    server_name,
};
use serde_json::Value;

use crate::{canonical_json::canonicalise, signing_key::SigningKey};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../tests/fixtures/test-vectors.json")).unwrap()
}

fn texts<'a>(vectors: &'a Value, key: &str) -> Vec<&'a str> {
    let texts = vectors[key].as_array().unwrap_or_else(|| panic!("{key}"));
    texts.iter().map(|text| text.as_str().unwrap()).collect()
}

/// Every text of the one list parses, none of the other does.
fn check(vectors: &Value, valid: &[&str], invalid: &[&str], parses: impl Fn(&str) -> bool) {
    for text in valid.iter().flat_map(|key| texts(vectors, key)) {
        assert!(parses(text), "valid: {text:?}");
    }
    for text in invalid.iter().flat_map(|key| texts(vectors, key)) {
        assert!(!parses(text), "invalid: {text:?}");
    }
}

#[test]
fn base64_is_written_without_padding_and_read_with_and_without() {
    let vectors = &vectors()["unpadded_base64"];
    for vector in vectors["spec"].as_array().unwrap() {
        let input = vector["input"].as_str().unwrap();
        assert_eq!(Base64::<Standard, _>::new(input.as_bytes()).encode(), vector["output"]);
    }
    for vector in vectors["derived"].as_array().unwrap() {
        if let Some(hex) = vector["input_hex"].as_str() {
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
            assert_eq!(Base64::<Standard, _>::new(bytes.clone()).encode(), vector["standard"]);
            assert_eq!(Base64::<UrlSafe, _>::new(bytes).encode(), vector["url_safe"]);
        }
        for key in ["decode_padded", "decode_unpadded"] {
            if let Some(text) = vector[key].as_str() {
                let read = Base64::<Standard>::parse(text).unwrap();
                assert_eq!(read.as_bytes(), vector["equals"].as_str().unwrap().as_bytes());
            }
        }
    }
}

#[test]
fn identifiers_are_told_from_what_is_none() {
    let vectors = vectors();
    let of = |kind: &str| vectors["identifiers"][kind].clone();
    check(&of("user_id"), &["valid_derived"], &["invalid_derived"], |text| {
        UserId::parse(text).is_ok()
    });
    check(&of("room_id"), &["valid_v1_v11_derived", "valid_v12"], &[], |text| {
        RoomId::parse(text).is_ok()
    });
    check(&of("event_id"), &["v1_v2", "v3", "v4_on"], &[], |text| EventId::parse(text).is_ok());
    check(&of("room_alias"), &["valid_derived"], &["invalid_derived"], |text| {
        RoomAliasId::parse(text).is_ok()
    });
    check(&of("room_version"), &["valid"], &[], |text| RoomVersionId::try_from(text).is_ok());
    check(&of("server_name"), &["valid"], &["invalid_derived"], |text| {
        ServerName::parse(text).is_ok()
    });
}

#[test]
fn requests_between_servers_are_signed_as_the_specification_does() {
    let vectors = vectors();
    let seed = vectors["signing_key"]["seed_base64"].as_str().unwrap();
    let key = SigningKey::parse(&format!("ed25519 1 {seed}")).unwrap();
    for case in vectors["x_matrix"]["cases"].as_array().unwrap() {
        let mut object = canonicalise(case["signed_object"].as_object().unwrap().clone()).unwrap();
        key.sign_json(server_name!("domain"), &mut object).unwrap();
        let signed = serde_json::to_value(object).unwrap();
        assert_eq!(signed["signatures"]["domain"]["ed25519:1"], case["sig"]);
    }
}
