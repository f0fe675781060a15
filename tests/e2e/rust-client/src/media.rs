//! Files of the media repository. They lie in a folder of the test, which looks at them there.

use std::{fs, path::Path};

use matrix_sdk::{
    attachment::{AttachmentConfig, AttachmentInfo, BaseImageInfo},
    media::{MediaFormat, MediaRequestParameters, MediaThumbnailSettings},
    ruma::{OwnedMxcUri, RoomId, UInt, events::room::MediaSource},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{error::Failure, session::Session};

/// How large a picture is, or shall be.
#[derive(Deserialize)]
pub struct Size {
    width: UInt,
    height: UInt,
}

impl Session {
    /// Uploads a picture and sends it into the room.
    pub async fn send_image(
        &self,
        room: &RoomId,
        file: &Path,
        mimetype: &str,
        size: Size,
    ) -> Result<Value, Failure> {
        let mime = mimetype.parse().map_err(Failure::from_debug)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let Size { width, height } = size;
        let info = BaseImageInfo { width: Some(width), height: Some(height), ..Default::default() };
        let config = AttachmentConfig::new().info(AttachmentInfo::Image(info));
        let data = fs::read(file)?;
        let sent = self.room(room)?.send_attachment(name, &mime, data, config).await?;
        Ok(json!({ "event_id": sent.event_id }))
    }

    /// Writes the server's thumbnail of `url` into `file`.
    pub async fn save_thumbnail(
        &self,
        url: OwnedMxcUri,
        size: Size,
        file: &Path,
    ) -> Result<(), Failure> {
        let settings = MediaThumbnailSettings::new(size.width, size.height);
        let source = MediaSource::Plain(url);
        let request = MediaRequestParameters { source, format: MediaFormat::Thumbnail(settings) };
        let data = self.client()?.media().get_media_content(&request, false).await?;
        Ok(fs::write(file, data)?)
    }
}
