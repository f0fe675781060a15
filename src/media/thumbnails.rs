//! Thumbnails: found in the bucket, or made and kept.

use http::header::CONTENT_LENGTH;
use myelin_protocol::media::thumbnail::{self, Size};

use super::local::{self, Served};
use crate::context::Context;
use crate::error::{ApiError, ErrorCode};
use crate::pictures::{self, FILE_BYTES_MAX, Picture, PictureError};
use crate::storage::media::{self, MediaRow, ThumbnailRow};
use crate::storage::media_files::{self, FileBody, ThumbnailName};

/// Kinds of pictures that may move.
const MOVING_TYPES: [&str; 3] = ["image/gif", "image/webp", "image/apng"];

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub media_id: &'a str,
    pub size: Size,
    pub animated: bool,
    pub known_etag: Option<&'a str>,
}

impl Wanted<'_> {
    /// Whether a thumbnail that is there is the one that would be made: it has the size, or it is
    /// a picture that was smaller than all sizes.
    fn is_served_by(&self, row: &ThumbnailRow) -> bool {
        let (width, height) = (row.thumbnail_width, row.thumbnail_height);
        let moves = row.thumbnail_type == "image/gif";
        row.thumbnail_method == self.size.method.as_str()
            && moves == self.animated
            && thumbnail::is_of_size((width, height), self.size)
    }
}

/// Answers with a thumbnail of a file that is there.
///
/// # Errors
/// `M_UNKNOWN` (400) if there can be none of this file, `M_TOO_LARGE` if it is too large.
pub async fn serve(
    context: &Context,
    row: &MediaRow,
    there: &[ThumbnailRow],
    mut wanted: Wanted<'_>,
) -> Result<http::Response<Vec<u8>>, ApiError> {
    let may_move = row.media_type.as_deref().is_some_and(|kind| MOVING_TYPES.contains(&kind));
    wanted.animated &= may_move;
    if let Some(found) = there.iter().find(|row| wanted.is_served_by(row)) {
        return local::answer(&Served {
            path: &path(wanted.media_id, found),
            length: found.thumbnail_length,
            media_type: Some(&found.thumbnail_type),
            name: None,
            range: None,
            known_etag: wanted.known_etag,
        });
    }
    if row.media_length.is_none_or(|length| length > FILE_BYTES_MAX) {
        let message = format!("Files of more than {FILE_BYTES_MAX} bytes have no thumbnails");
        return Err(ApiError::new(ErrorCode::TooLarge, message));
    }
    let file = context.platform.get_file(&media_files::local(wanted.media_id)).await;
    let bytes = file.map_err(ApiError::internal)?.ok_or_else(local::not_found)?;
    let picture = pictures::thumbnail(&bytes, wanted.size, wanted.animated).map_err(explain)?;
    keep(context, wanted, picture)
}

fn path(media_id: &str, row: &ThumbnailRow) -> String {
    let name = ThumbnailName {
        width: row.thumbnail_width,
        height: row.thumbnail_height,
        content_type: &row.thumbnail_type,
        method: &row.thumbnail_method,
    };
    media_files::local_thumbnail(media_id, &name)
}

fn explain(error: PictureError) -> ApiError {
    let code = match error {
        PictureError::TooLarge(_) => return ApiError::new(ErrorCode::TooLarge, error.to_string()),
        PictureError::Unsupported | PictureError::Broken(_) => ErrorCode::Unknown,
    };
    ApiError::new(code, format!("There is no thumbnail: {error}")).with_status(400)
}

/// Answers with a new thumbnail, and keeps it after that.
fn keep(
    context: &Context,
    wanted: Wanted<'_>,
    picture: Picture,
) -> Result<http::Response<Vec<u8>>, ApiError> {
    let moves = picture.content_type == "image/gif";
    let row = ThumbnailRow {
        thumbnail_width: picture.width,
        thumbnail_height: picture.height,
        thumbnail_type: picture.content_type.to_owned(),
        thumbnail_method: wanted.size.method.as_str().to_owned(),
        thumbnail_length: picture.bytes.len() as u64,
    };
    let path = path(wanted.media_id, &row);
    let mut headers = local::headers(Some(picture.content_type), None);
    headers.push((CONTENT_LENGTH, picture.bytes.len().to_string()));
    let mut answer = local::response(200, &local::etag(&path), &headers)?;
    answer.body_mut().clone_from(&picture.bytes);
    // One that should move and does not is made anew each time: what is kept stands still for all.
    if moves == wanted.animated {
        let (later, media_id) = (context.clone(), wanted.media_id.to_owned());
        context.platform.spawn(Box::pin(async move {
            let stored = later.platform.put_file(&path, FileBody::Bytes(picture.bytes)).await;
            if let Err(error) = stored {
                return crate::log::warn(&format!("a thumbnail was not kept: {error}"));
            }
            if let Err(error) = later.batch(vec![media::insert_thumbnail(&media_id, &row)]).await {
                crate::log::warn(&format!("a thumbnail was not noted: {error}"));
            }
        }));
    }
    Ok(answer)
}
