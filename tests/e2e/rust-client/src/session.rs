//! Session: one device of one user, from its login on. Its stores are SQLite's, in a folder of its
//! own, as in every application on this library.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, OnceLock},
};

use matrix_sdk::{
    Client, Room, SlidingSync, ThreadingSupport,
    encryption::{BackupDownloadStrategy, EncryptionSettings, verification::SasVerification},
    event_cache::RoomEventCacheSubscriber,
    ruma::{OwnedRoomId, RoomId},
    sliding_sync::VersionBuilder,
};
use matrix_sdk_ui::{Timeline, sync_service::SyncService};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::{error::Failure, verification::IncomingRequests};

#[derive(Default)]
pub struct Session {
    client: OnceLock<Client>,
    pub(crate) service: OnceLock<SyncService>,
    pub(crate) sliding: OnceLock<Arc<SlidingSync>>,
    /// As long as one is held, the event cache keeps the whole timeline in memory.
    pub(crate) subscribers: Mutex<HashMap<OwnedRoomId, RoomEventCacheSubscriber>>,
    pub(crate) open_rooms: Mutex<HashMap<OwnedRoomId, Timeline>>,
    pub(crate) incoming: IncomingRequests,
    pub(crate) sas: Mutex<Option<SasVerification>>,
}

impl Session {
    pub async fn log_in(
        &self,
        url: &str,
        user: &str,
        password: &str,
        folder: &Path,
        sliding: bool,
    ) -> Result<Value, Failure> {
        let version = if sliding { VersionBuilder::DiscoverNative } else { VersionBuilder::None };
        let client = Client::builder()
            .homeserver_url(url)
            // The test's proxy stays in between.
            .respect_login_well_known(false)
            .sqlite_store(folder, None)
            .sliding_sync_version_builder(version)
            .with_threading_support(ThreadingSupport::Enabled { with_subscriptions: sliding })
            .with_encryption_settings(EncryptionSettings {
                auto_enable_cross_signing: false,
                auto_enable_backups: false,
                backup_download_strategy: BackupDownloadStrategy::AfterDecryptionFailure,
            })
            .build()
            .await?;
        self.incoming.listen(&client);
        let device = client.matrix_auth().login_username(user, password).send().await?;
        client.event_cache().subscribe()?;
        client.encryption().wait_for_e2ee_initialization_tasks().await;
        self.client.set(client).map_err(|_| Failure::new("this session is logged in"))?;
        Ok(json!({ "user_id": device.user_id, "device_id": device.device_id }))
    }

    pub async fn log_out(&self) -> Result<(), Failure> {
        if let Some(service) = self.service.get() {
            service.stop().await;
        }
        Ok(self.client()?.logout().await?)
    }

    pub fn client(&self) -> Result<&Client, Failure> {
        self.client.get().ok_or_else(|| Failure::new("log in first"))
    }

    pub fn room(&self, room_id: &RoomId) -> Result<Room, Failure> {
        let unknown = || Failure::new(format!("{room_id} is not known"));
        self.client()?.get_room(room_id).ok_or_else(unknown)
    }
}
