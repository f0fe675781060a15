//! Making a preview of a page: what it says of itself, and its picture, which is kept here.

use myelin_protocol::media::preview;
use serde_json::{Map, Value, json};
use url::Url;

use crate::context::Context;
use crate::error::ApiError;
use crate::outbound::FetchError;
use crate::outbound::pages::{self, Found};
use crate::pictures;
use crate::storage::media::{self, NewMedia};
use crate::storage::media_files::{self, FileBody};
use crate::storage::url_previews::{self, NewPreview};

/// How long a preview is good for.
const LIFETIME_MS: u64 = 60 * 60 * 1000;

/// The kinds of pictures that are kept.
const PICTURE_TYPES: [&str; 4] = ["image/gif", "image/jpeg", "image/png", "image/webp"];

/// Makes the preview of a page, and keeps it.
///
/// # Errors
/// 502 if the page cannot be had, 403 if it is none of the public internet.
pub async fn make(context: &Context, url: &Url) -> Result<Map<String, Value>, ApiError> {
    let found = pages::fetch(context, url).await.map_err(explain)?;
    if !(200..300).contains(&found.status) {
        let message = format!("The page was answered with status {}", found.status);
        return Err(unavailable(&message));
    }
    let mut properties = describe(context, &found).await;
    let kept = match is_picture(&found) {
        true => keep_picture(context, &found).await,
        false => keep_picture_of(context, &found, properties.remove("og:image")).await,
    };
    if let Some(kept) = &kept {
        kept.describe(context, &mut properties);
    }
    let og = Value::Object(properties.clone()).to_string();
    let row = NewPreview {
        url: url.as_str(),
        response_code: found.status,
        etag: found.etag.as_deref(),
        expires_ts: context.now_ms() + LIFETIME_MS,
        og: &og,
        media_id: kept.as_ref().map(|kept| kept.media_id.as_str()),
    };
    context.batch(vec![url_previews::insert(&row, context.now_ms())]).await?;
    Ok(properties)
}

fn explain(error: FetchError) -> ApiError {
    match error {
        FetchError::NotPublic => ApiError::forbidden("Only the public internet can be looked at"),
        error => unavailable(&format!("The page cannot be had: {error}")),
    }
}

fn unavailable(message: &str) -> ApiError {
    ApiError::new(crate::error::ErrorCode::Unknown, message).with_status(502)
}

fn is_picture(found: &Found) -> bool {
    let essence = found.content_type.split(';').next().unwrap_or_default().trim();
    PICTURE_TYPES.contains(&essence)
}

/// What a page says of itself, in HTML or by oEmbed.
async fn describe(context: &Context, found: &Found) -> Map<String, Value> {
    let is_html = found.content_type.contains("html") || found.content_type.is_empty();
    if !is_html {
        return Map::new();
    }
    let page = preview::read(&text(found), &found.url);
    let mut properties: Map<String, Value> =
        page.properties.into_iter().map(|(name, text)| (name, Value::String(text))).collect();
    if let Some(oembed) = page.oembed
        && let Ok(answer) = pages::fetch(context, &oembed).await
        && let Ok(Value::Object(oembed)) = serde_json::from_slice(&answer.body)
    {
        for (name, property) in OEMBED {
            if let Some(text) = oembed.get(name).and_then(Value::as_str) {
                properties.entry(property).or_insert_with(|| json!(text));
            }
        }
    }
    properties
}

/// Fields of oEmbed, and what they are called in Open Graph.
const OEMBED: [(&str, &str); 5] = [
    ("title", "og:title"),
    ("author_name", "og:description"),
    ("provider_name", "og:site_name"),
    ("thumbnail_url", "og:image"),
    ("url", "og:image"),
];

/// The text of a page: UTF-8, or the encoding that was usual before it.
fn text(found: &Found) -> String {
    match std::str::from_utf8(&found.body) {
        Ok(text) => text.to_owned(),
        Err(_) if found.content_type.contains("8859-1") => {
            found.body.iter().map(|byte| char::from(*byte)).collect()
        }
        Err(_) => String::from_utf8_lossy(&found.body).into_owned(),
    }
}

/// A picture of a page that is in the bucket.
struct Kept {
    media_id: String,
    media_type: String,
    length: usize,
    dimensions: Option<(u32, u32)>,
}

impl Kept {
    fn describe(&self, context: &Context, properties: &mut Map<String, Value>) {
        let uri = format!("mxc://{}/{}", context.server_name(), self.media_id);
        properties.insert("og:image".to_owned(), json!(uri));
        properties.insert("og:image:type".to_owned(), json!(self.media_type));
        properties.insert("matrix:image:size".to_owned(), json!(self.length));
        if let Some((width, height)) = self.dimensions {
            properties.insert("og:image:width".to_owned(), json!(width));
            properties.insert("og:image:height".to_owned(), json!(height));
        }
    }
}

/// Fetches the picture that a page names, and keeps it.
async fn keep_picture_of(context: &Context, page: &Found, named: Option<Value>) -> Option<Kept> {
    let url = page.url.join(named?.as_str()?).ok()?;
    keep_picture(context, &pages::fetch(context, &url).await.ok()?).await
}

/// A preview without its picture is still one: what goes wrong here is logged.
async fn keep_picture(context: &Context, found: &Found) -> Option<Kept> {
    if !is_picture(found) || !(200..300).contains(&found.status) {
        return None;
    }
    let now_ms = context.now_ms();
    let media_id = format!("{}_{}", date(now_ms), context.random_string(16));
    let path = media_files::local(&media_id);
    let stored = context.platform.put_file(&path, FileBody::Bytes(found.body.clone())).await;
    if let Err(error) = stored {
        crate::log::warn(&format!("the picture of a preview was not kept: {error}"));
        return None;
    }
    let row = NewMedia {
        media_id: &media_id,
        media_type: &found.content_type,
        media_length: found.body.len() as u64,
        upload_name: None,
        user_id: None,
        url_cache: Some(found.url.as_str()),
    };
    if let Err(error) = context.batch(vec![media::insert(&row, now_ms)]).await {
        crate::log::warn(&format!("the picture of a preview was not noted: {error}"));
        return None;
    }
    Some(Kept {
        media_id,
        media_type: found.content_type.clone(),
        length: found.body.len(),
        dimensions: pictures::dimensions(&found.body).ok(),
    })
}

/// The day of a time, as `2026-01-31`.
fn date(now_ms: u64) -> String {
    // Days since 1 March of the year 0, in cycles of 400 years: Howard Hinnant's civil_from_days.
    let days = now_ms / 86_400_000 + 719_468;
    let (cycle, day_of_cycle) = (days / 146_097, days % 146_097);
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524
        - day_of_cycle / 146_096)
        / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_cycle + cycle * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(951_782_400_000), "2000-02-29");
        assert_eq!(date(1_795_305_599_999), "2026-11-21");
    }
}
