//! What a page says of itself: the Open Graph protocol, and what older pages have instead.

use std::collections::BTreeMap;

use html5gum::emitters::default::DefaultEmitter;
use html5gum::{StartTag, Token, Tokenizer};
use url::Url;

/// The longest text of a property, in characters: a page may hold anything.
const TEXT_CHARACTERS_MAX: usize = 1_000;

/// The most properties of a page, beside those that are known.
const PROPERTIES_MAX: usize = 50;

/// So much of the text of a page that describes itself in no other way.
const DESCRIPTION_CHARACTERS_MAX: usize = 200;

/// What a page says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// `og:title`, `og:description`, `og:image`, ...
    pub properties: BTreeMap<String, String>,
    /// Where the site describes the page in JSON: <https://oembed.com>.
    pub oembed: Option<Url>,
}

/// Reads a page that was found at `url`.
pub fn read(html: &str, url: &Url) -> Page {
    let mut reader = Reader::at(url);
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true);
    for token in Tokenizer::new_with_emitter(html, emitter) {
        match token {
            Ok(Token::StartTag(tag)) => reader.begin(&tag),
            Ok(Token::EndTag(tag)) => reader.end(&tag.name),
            Ok(Token::String(text)) => reader.add_text(&String::from_utf8_lossy(&text)),
            _ => {}
        }
    }
    reader.finish()
}

/// Where the text goes that comes next.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Nowhere,
    Title,
    Heading,
    Paragraph,
}

struct Reader {
    base: Url,
    place: Place,
    /// The first of a name counts.
    meta: BTreeMap<String, String>,
    title: String,
    heading: String,
    text: String,
    oembed: Option<Url>,
}

impl Reader {
    fn at(url: &Url) -> Self {
        Self {
            base: url.clone(),
            place: Place::Nowhere,
            meta: BTreeMap::new(),
            title: String::new(),
            heading: String::new(),
            text: String::new(),
            oembed: None,
        }
    }

    fn begin(&mut self, tag: &StartTag<()>) {
        let place = match &**tag.name {
            b"meta" => return self.add_meta(tag),
            b"link" => return self.add_link(tag),
            b"title" if self.title.is_empty() => Place::Title,
            b"h1" if self.heading.is_empty() => Place::Heading,
            b"p" => Place::Paragraph,
            _ => return,
        };
        self.place = place;
    }

    fn end(&mut self, name: &[u8]) {
        let ended = match name {
            b"title" => Place::Title,
            b"h1" => Place::Heading,
            b"p" => Place::Paragraph,
            _ => return,
        };
        if self.place == ended {
            self.add_text(" ");
            self.place = Place::Nowhere;
        }
    }

    fn add_text(&mut self, text: &str) {
        let target = match self.place {
            Place::Nowhere => return,
            Place::Title => &mut self.title,
            Place::Heading => &mut self.heading,
            Place::Paragraph => &mut self.text,
        };
        let left = TEXT_CHARACTERS_MAX.saturating_sub(target.len());
        target.extend(text.chars().take(left));
    }

    fn add_meta(&mut self, tag: &StartTag<()>) {
        let Some(content) = attribute(tag, "content").filter(|content| !content.is_empty()) else {
            return;
        };
        let names = ["property", "name", "itemprop"].into_iter();
        for name in names.filter_map(|name| attribute(tag, name)) {
            if self.meta.len() < PROPERTIES_MAX {
                self.meta.entry(name.to_ascii_lowercase()).or_insert_with(|| shortened(&content));
            }
        }
    }

    fn add_link(&mut self, tag: &StartTag<()>) {
        let (Some(rel), Some(href)) = (attribute(tag, "rel"), attribute(tag, "href")) else {
            return;
        };
        let has =
            |word: &str| rel.split_ascii_whitespace().any(|rel| rel.eq_ignore_ascii_case(word));
        let is_oembed = attribute(tag, "type")
            .is_some_and(|kind| kind.eq_ignore_ascii_case("application/json+oembed"));
        if has("alternate") && is_oembed && self.oembed.is_none() {
            self.oembed = self.base.join(&href).ok();
        }
        if has("image_src") {
            self.meta.entry("image_src".to_owned()).or_insert(href);
        }
    }

    fn finish(mut self) -> Page {
        let mut properties: BTreeMap<String, String> = BTreeMap::new();
        let known = self.meta.iter().filter(|(name, _)| name.starts_with("og:"));
        properties.extend(known.map(|(name, content)| (name.clone(), content.clone())));
        let mut fall_back = |name: &str, others: [Option<String>; 3]| {
            if !properties.contains_key(name)
                && let Some(text) = others.into_iter().flatten().find(|text| !text.is_empty())
            {
                properties.insert(name.to_owned(), text);
            }
        };
        let named = |name: &str| self.meta.get(name).cloned();
        let (title, heading) = (squeezed(&self.title), squeezed(&self.heading));
        fall_back("og:title", [named("twitter:title"), Some(title), Some(heading)]);
        let text: String = squeezed(&self.text).chars().take(DESCRIPTION_CHARACTERS_MAX).collect();
        let description = [named("twitter:description"), named("description"), Some(text)];
        fall_back("og:description", description);
        let pictures = [named("twitter:image"), named("image"), named("image_src")];
        fall_back("og:image", pictures);
        Page { properties, oembed: self.oembed.take() }
    }
}

fn attribute(tag: &StartTag<()>, name: &str) -> Option<String> {
    let value = tag.attributes.get(name.as_bytes())?;
    Some(String::from_utf8_lossy(value).trim().to_owned())
}

fn shortened(text: &str) -> String {
    text.chars().take(TEXT_CHARACTERS_MAX).collect()
}

/// Every run of white space as one space.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(html: &str) -> Page {
        read(html, &Url::parse("https://example.org/a/b").unwrap())
    }

    fn property(html: &str, name: &str) -> Option<String> {
        page(html).properties.remove(name)
    }

    #[test]
    fn open_graph_goes_first() {
        let html = "<html><head><title>Other</title>\
            <meta property='og:title' content='A &amp; B'>\
            <meta property=\"og:title\" content=\"second\">\
            <META NAME=og:site_name CONTENT=Site></head>";
        assert_eq!(property(html, "og:title").unwrap(), "A & B");
        assert_eq!(property(html, "og:site_name").unwrap(), "Site");
    }

    #[test]
    fn older_pages_are_described_by_what_they_have() {
        let html = "<title> A\n page </title><h1>Heading</h1>\
            <script>document.write('<p>no</p>')</script>\
            <p>First <b>words</b>.</p><p>More.</p><link rel=image_src href=/x.png>";
        assert_eq!(property(html, "og:title").unwrap(), "A page");
        assert_eq!(property(html, "og:description").unwrap(), "First words. More.");
        assert_eq!(property(html, "og:image").unwrap(), "/x.png");
        let html = "<meta name=description content=Words><p>Text</p><h1>Heading</h1>";
        assert_eq!(property(html, "og:title").unwrap(), "Heading");
        assert_eq!(property(html, "og:description").unwrap(), "Words");
    }

    #[test]
    fn oembed_is_found() {
        let html = "<link rel='alternate' type='application/json+oembed' href='../o?x=1&amp;y=2'>";
        assert_eq!(page(html).oembed.unwrap().as_str(), "https://example.org/o?x=1&y=2");
        assert_eq!(page("<link rel=alternate type=text/xml href=/o>").oembed, None);
    }

    #[test]
    fn pages_of_any_size_and_shape_are_bounded() {
        let long = format!("<title>{}</title>", "a".repeat(1_000_000));
        assert_eq!(property(&long, "og:title").unwrap().len(), TEXT_CHARACTERS_MAX);
        let many: String =
            (0..10_000).map(|i| format!("<meta property='og:x{i}' content='y'>")).collect();
        assert!(page(&many).properties.len() <= PROPERTIES_MAX);
        for html in ["", "<", "<meta", "<title>", "<p><p><p", "\u{0}<meta content=x>", "<!--"] {
            page(html);
        }
    }
}
