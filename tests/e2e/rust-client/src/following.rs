//! How a session hears of what happens: `GET /sync`, or sliding sync in two manners.
//! Invariant: an error ends no loop; the library goes on from the position that it had.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use matrix_sdk::{
    Client, LoopCtrl, SlidingSync, SlidingSyncList, SlidingSyncMode,
    config::SyncSettings,
    ruma::{OwnedRoomId, RoomId, api::client::sync::sync_events::v5::request},
};
use matrix_sdk_ui::sync_service::SyncService;

use crate::{commands::How, error::Failure, session::Session};

/// How long a loop rests after an error: the server may be starting.
const REST: Duration = Duration::from_millis(100);
const GROWING_BATCH: u32 = 2;
const TIMELINE_LIMIT: u32 = 3;

impl Session {
    pub async fn follow(&self, how: How) -> Result<(), Failure> {
        let client = self.client()?.clone();
        let twice = || Failure::new("this session follows the server already");
        match how {
            How::Sync => {
                tokio::spawn(follow_sync(client));
            }
            How::SyncService => {
                let service = SyncService::builder(client).with_offline_mode().build().await?;
                service.start().await;
                self.service.set(service).map_err(|_| twice())?;
            }
            How::WholeState => {
                let sliding = Arc::new(whole_state(client).await?);
                tokio::spawn(follow_sliding(sliding.clone()));
                self.sliding.set(sliding).map_err(|_| twice())?;
            }
        }
        Ok(())
    }

    /// The server is back: a client that rests need not wait for the end of its rest.
    pub async fn hurry(&self) -> Result<(), Failure> {
        if let Some(service) = self.service.get() {
            service.start().await;
        }
        Ok(())
    }

    pub async fn subscribe(&self, rooms: &[OwnedRoomId]) -> Result<(), Failure> {
        let rooms: Vec<&RoomId> = rooms.iter().map(|room| &**room).collect();
        if let Some(service) = self.service.get() {
            service.room_list_service().subscribe_to_rooms(&rooms).await;
        } else if let Some(sliding) = self.sliding.get() {
            let mut settings = request::RoomSubscription::default();
            settings.required_state = vec![("*".into(), "*".to_owned())];
            settings.timeline_limit = 20_u32.into();
            sliding.subscribe_to_rooms(&rooms, Some(settings), true);
        } else {
            return Err(Failure::new("only sliding sync has subscriptions"));
        }
        Ok(())
    }
}

async fn follow_sync(client: Client) {
    let settings = SyncSettings::default();
    let outcome = client.sync_with_result_callback(settings, async |response| {
        if response.is_err() {
            tokio::time::sleep(REST).await;
        }
        Ok(LoopCtrl::Continue)
    });
    if let Err(error) = outcome.await {
        tracing::error!(target: "matrix_sdk", ?error, "the sync loop has ended");
    }
}

async fn whole_state(client: Client) -> Result<SlidingSync, Failure> {
    let list = SlidingSyncList::builder("all")
        .sync_mode(SlidingSyncMode::new_growing(GROWING_BATCH))
        .timeline_limit(TIMELINE_LIMIT)
        .required_state(vec![("*".into(), "*".to_owned())]);
    let builder = client.sliding_sync("whole")?.add_list(list).with_all_extensions();
    Ok(builder.build().await?)
}

async fn follow_sliding(sliding: Arc<SlidingSync>) {
    loop {
        let mut stream = Box::pin(sliding.sync());
        while let Some(Ok(_)) = stream.next().await {}
        tokio::time::sleep(REST).await;
    }
}
