//! How people are found by what somebody types: the words of their names, and who matches best.
//!
//! Names and search terms become words in the same way, so what is equal to a reader is equal
//! here: lower case, normal form KC (as in Synapse's user directory), any script. A language
//! without spaces is cut into its smallest parts, which the search asks for together.

use std::collections::BTreeSet;

use icu_normalizer::ComposingNormalizerBorrowed;
use ruma::{ServerName, UserId};
use unicode_segmentation::UnicodeSegmentation;

/// Words of a search term that count, as in Synapse.
const TERMS_MAX: usize = 10;

/// Words of one name that are found: a display name may be of 256 characters without a space.
const NAME_WORDS_MAX: usize = 64;

/// What a word is worth by its place. Synapse's weights.
const LOCALPART_WEIGHT: f64 = 1.0;
const DISPLAY_NAME_WEIGHT: f64 = 0.9;
const SERVER_NAME_WEIGHT: f64 = 0.1;

/// What an exact match is worth beside the beginning of a word.
const EXACT_FACTOR: f64 = 3.0;

/// What having a display name, or an avatar, is worth.
const PROFILE_FACTOR: f64 = 1.2;

/// The words of a text.
fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    let text = ComposingNormalizerBorrowed::new_nfkc().normalize(&text);
    let pieces = text.split(|c: char| !c.is_alphanumeric());
    pieces.flat_map(str::unicode_words).map(ToOwned::to_owned).collect()
}

/// The words by which somebody is looked up. The server's own name is none of them: everyone
/// would have it.
pub fn index_words(user_id: &UserId, display_name: Option<&str>, own: &ServerName) -> Vec<String> {
    let mut found: BTreeSet<String> = words(user_id.localpart()).into_iter().collect();
    if user_id.server_name() != own {
        found.extend(words(user_id.server_name().as_str()));
    }
    let of_name = words(display_name.unwrap_or_default());
    found.extend(of_name.into_iter().take(NAME_WORDS_MAX));
    found.into_iter().collect()
}

/// Somebody who may be meant.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub user_id: &'a UserId,
    pub display_name: Option<&'a str>,
    pub has_avatar: bool,
}

/// What somebody is looking for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    terms: Vec<String>,
}

impl Search {
    /// `None` if there is no word in it.
    pub fn new(text: &str) -> Option<Self> {
        let mut terms = words(text);
        terms.truncate(TERMS_MAX);
        (!terms.is_empty()).then_some(Self { terms })
    }

    /// The word to look up: everyone who is found has a word that begins with it. The longest,
    /// because few have it; one of the server's own name only if there is no other.
    pub fn key(&self, own: &ServerName) -> &str {
        let own = words(own.as_str());
        let rank = |term: &&String| (!own.contains(term), term.chars().count());
        self.terms.iter().max_by_key(rank).map_or("", String::as_str)
    }

    /// How well somebody matches; `None` if not every word of the search is the beginning of a
    /// word of theirs.
    pub fn rank(&self, candidate: Candidate<'_>) -> Option<f64> {
        let places = [
            (words(candidate.user_id.localpart()), LOCALPART_WEIGHT),
            (words(candidate.display_name.unwrap_or_default()), DISPLAY_NAME_WEIGHT),
            (words(candidate.user_id.server_name().as_str()), SERVER_NAME_WEIGHT),
        ];
        let weight = |matches: &dyn Fn(&str) -> bool| {
            let of_place = places.iter().filter(|(words, _)| words.iter().any(|w| matches(w)));
            of_place.map(|(_, weight)| *weight).reduce(f64::max)
        };
        let begins = |term: &String| weight(&|word| word.starts_with(term.as_str()));
        let equals = |term: &String| weight(&|word| word == term);
        let begun: f64 = self.terms.iter().map(begins).sum::<Option<f64>>()?;
        let exact: f64 = self.terms.iter().map(equals).sum::<Option<f64>>().unwrap_or(0.0);
        let unique: BTreeSet<&String> = places.iter().flat_map(|(words, _)| words).collect();
        let profile = |has: bool| if has { PROFILE_FACTOR } else { 1.0 };
        let rank = EXACT_FACTOR * exact + begun;
        Some(
            profile(candidate.display_name.is_some()) * profile(candidate.has_avatar) * rank
                / unique.len().max(1) as f64,
        )
    }
}

#[cfg(test)]
mod tests {
    use ruma::{server_name, user_id};

    use super::*;

    fn found(user_id: &str, display_name: Option<&str>, text: &str) -> Option<f64> {
        let user_id = <&UserId>::try_from(user_id).unwrap();
        let candidate = Candidate { user_id, display_name, has_avatar: false };
        Search::new(text)?.rank(candidate)
    }

    #[test]
    fn words_of_any_script_are_found_by_their_beginning() {
        for (name, text) in [
            ("Alice Lidell", "lid"),
            ("ALICE", "alice"),
            ("Åse Ærø", "ærø"),
            ("Ａｌｉｃｅ", "alice"),
            ("O’Neil-Smith", "neil smi"),
            ("Надежда Крупская", "круп"),
            ("山田太郎", "太郎"),
            ("ﾔﾏﾀﾞ", "ヤマ"),
            ("김철수", "김"),
            ("हिन्दी नाम", "हिन्दी"),
            ("عبد الله", "الله"),
            ("สมชาย", "ชาย"),
            ("e\u{301}mile", "émi"),
        ] {
            assert!(found("@x:a.example", Some(name), text).is_some(), "{name} by {text}");
            let indexed = index_words(user_id!("@x:a.example"), Some(name), server_name!("b"));
            let search = Search::new(text).unwrap();
            let key = search.key(server_name!("b"));
            assert!(indexed.iter().any(|word| word.starts_with(key)), "{name} has no {key}");
        }
        assert_eq!(found("@x:a.example", Some("Malice"), "alice"), None);
        assert_eq!(found("@x:a.example", Some("Alice"), "alice bob"), None);
        assert_eq!(Search::new(" -@: "), None);
    }

    #[test]
    fn user_ids_are_found_whole_and_in_parts() {
        for text in ["@alice.jones:example.org", "jones", "ali", "alice:exa", "example"] {
            assert!(found("@alice.jones:example.org", None, text).is_some(), "{text}");
        }
        let search = Search::new("@bob:example.org").unwrap();
        assert_eq!(search.key(server_name!("example.org")), "bob");
        assert_eq!(search.key(server_name!("other.test")), "example");
        let own = index_words(user_id!("@al:example.org"), None, server_name!("example.org"));
        assert_eq!(own, ["al"]);
        let remote = index_words(user_id!("@al:example.org"), None, server_name!("other.test"));
        assert_eq!(remote, ["al", "example", "org"]);
    }

    #[test]
    fn an_exact_name_comes_before_the_beginning_of_one_and_the_server_last() {
        let exact = found("@x:a.example", Some("Ann"), "ann").unwrap();
        let begun = found("@x:a.example", Some("Anna"), "ann").unwrap();
        let named = found("@ann:a.example", Some("Ann"), "ann").unwrap();
        let nameless = found("@ann:a.example", None, "ann").unwrap();
        let server = found("@x:ann.example", Some("Bob"), "ann").unwrap();
        assert!(named > exact && exact > begun && begun > server && nameless > server);
        let long = found("@x:a.example", Some("Ann of the many other words"), "ann").unwrap();
        assert!(exact > long);
    }

    #[test]
    fn a_name_without_spaces_has_a_bounded_number_of_words() {
        let name: String = ('\u{4e00}'..'\u{4f00}').collect();
        let count = index_words(user_id!("@x:b"), Some(&name), server_name!("b")).len();
        assert_eq!(count, NAME_WORDS_MAX + 1);
    }
}
