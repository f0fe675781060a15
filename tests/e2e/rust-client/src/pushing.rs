//! Where the server pushes notifications for this session.

use matrix_sdk::ruma::{
    api::client::push::{PusherIds, PusherInit, PusherKind},
    push::{HttpPusherData, PushFormat},
};

use crate::{error::Failure, session::Session};

impl Session {
    /// As a phone sets it: the server tells the gateway no more than which event it is.
    pub async fn set_pusher(
        &self,
        app_id: String,
        key: String,
        url: String,
    ) -> Result<(), Failure> {
        let mut data = HttpPusherData::new(url);
        data.format = Some(PushFormat::EventIdOnly);
        let pusher = PusherInit {
            ids: PusherIds::new(key, app_id),
            kind: PusherKind::Http(data),
            app_display_name: "Tests".to_owned(),
            device_display_name: "Phone".to_owned(),
            profile_tag: None,
            lang: "en".to_owned(),
        };
        Ok(self.client()?.pusher().set(pusher.into(), false).await?)
    }
}
