//! Words as full-text search knows them. Where a script has no spaces between words, every two
//! letters that follow each other count as one.

/// The most words of a query.
const WORDS_MAX: usize = 20;

/// The most characters of a text that are indexed: an event has no more.
const CHARACTERS_MAX: usize = 65_536;

/// What somebody searches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// For FTS5's `MATCH`: every word, as the beginning of one.
    pub expression: String,
    /// The words to be shown bright.
    pub highlights: Vec<String>,
}

/// A text as it is indexed: words with a space between them.
pub fn index_text(text: &str) -> String {
    let text: String = text.chars().take(CHARACTERS_MAX).collect();
    let mut words = Vec::new();
    for piece in pieces(&text) {
        match piece {
            Piece::Word(word) => words.push(word.to_owned()),
            Piece::Run(letters) => {
                words.extend(letters.windows(2).map(String::from_iter));
                // Of the last letter alone no pair would tell.
                words.extend(letters.last().map(char::to_string));
            }
        }
    }
    words.join(" ")
}

/// Reads what somebody has typed; `None` if there is no word in it.
pub fn query(term: &str) -> Option<Query> {
    let words: Vec<Piece<'_>> = pieces(term).take(WORDS_MAX).collect();
    let expression = words.iter().map(|piece| match piece {
        Piece::Word(word) => format!("\"{word}\"*"),
        Piece::Run(letters) if letters.len() == 1 => format!("\"{}\"*", letters[0]),
        Piece::Run(letters) => {
            let pairs: Vec<String> = letters.windows(2).map(String::from_iter).collect();
            format!("\"{}\"", pairs.join(" "))
        }
    });
    let expression = expression.collect::<Vec<_>>().join(" ");
    let mut highlights: Vec<String> = words.iter().map(Piece::text).collect();
    highlights.sort();
    highlights.dedup();
    (!expression.is_empty()).then_some(Query { expression, highlights })
}

/// A part of a text.
enum Piece<'a> {
    /// Letters and digits of a script that has spaces.
    Word(&'a str),
    /// Letters of one that has none.
    Run(Vec<char>),
}

impl Piece<'_> {
    fn text(&self) -> String {
        match self {
            Self::Word(word) => word.to_lowercase(),
            Self::Run(letters) => letters.iter().collect(),
        }
    }
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = rest.find(char::is_alphanumeric)?;
        rest = &rest[start..];
        let first = rest.chars().next()?;
        let is_run = is_without_spaces(first);
        let belongs = |c: char| {
            let is_part = c.is_alphanumeric() || is_mark(c);
            is_part && is_without_spaces(c) == is_run
        };
        let end = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(match is_run {
            true => Piece::Run(piece.chars().collect()),
            false => Piece::Word(piece),
        })
    })
}

/// Accents that stand by themselves belong to the letter before them.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{20d0}'..='\u{20ff}')
}

/// Chinese, Japanese and Korean letters; Thai, Lao, Khmer and Burmese ones.
fn is_without_spaces(c: char) -> bool {
    matches!(c,
        '\u{e00}'..='\u{eff}'
        | '\u{1000}'..='\u{109f}'
        | '\u{1100}'..='\u{11ff}'
        | '\u{1780}'..='\u{17ff}'
        | '\u{3005}'..='\u{3007}'
        | '\u{3040}'..='\u{30ff}'
        | '\u{3130}'..='\u{318f}'
        | '\u{31f0}'..='\u{31ff}'
        | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7af}'
        | '\u{f900}'..='\u{faff}'
        | '\u{ff66}'..='\u{ff9f}'
        | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_stands_between_other_signs() {
        assert_eq!(index_text("Hello, wörld! (it's 5)"), "Hello wörld it s 5");
        assert_eq!(index_text("  ...  "), "");
    }

    #[test]
    fn letters_of_scripts_without_spaces_are_paired() {
        assert_eq!(index_text("東京都庁 Tower"), "東京 京都 都庁 庁 Tower");
        assert_eq!(index_text("猫"), "猫");
        assert_eq!(index_text("abc漢字"), "abc 漢字 字");
    }

    #[test]
    fn a_query_asks_for_all_of_its_words() {
        let asked = query("Hello \"wor").unwrap();
        assert_eq!(asked.expression, "\"Hello\"* \"wor\"*");
        assert_eq!(asked.highlights, ["hello", "wor"]);
        assert_eq!(query("京都庁 x").unwrap().expression, "\"京都 都庁\" \"x\"*");
        assert_eq!(query("庁").unwrap().expression, "\"庁\"*");
        assert_eq!(query(" -*\"'()").map(|query| query.expression), None);
    }

    #[test]
    fn nothing_that_is_typed_is_an_operator() {
        for term in ["a OR b", "NEAR(a b)", "a\" OR \"b", "terms:a", "^a", "a AND NOT b"] {
            let asked = query(term).unwrap();
            let quoted = asked
                .expression
                .split(' ')
                .all(|word| word.starts_with('"') && word.trim_end_matches('*').ends_with('"'));
            assert!(quoted, "{}", asked.expression);
        }
    }
}
