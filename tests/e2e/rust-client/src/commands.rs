//! The table of commands. Their fields are named as in the specification.

use std::path::PathBuf;

use matrix_sdk::ruma::{OwnedDeviceId, OwnedEventId, OwnedMxcUri, OwnedRoomId, OwnedUserId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{error::Failure, media::Size, session::Session};

#[derive(Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    Login { url: String, user: String, password: String, folder: PathBuf, sliding: bool },
    Logout,
    Follow { how: How },
    Hurry,
    Subscribe { rooms: Vec<OwnedRoomId> },
    Rooms,
    CreateRoom { name: String, invite: Vec<OwnedUserId>, encrypted: bool },
    Join { room: OwnedRoomId },
    Leave { room: OwnedRoomId },
    Send { room: OwnedRoomId, r#type: String, content: Value },
    SendState { room: OwnedRoomId, r#type: String, state_key: String, content: Value },
    Redact { room: OwnedRoomId, event: OwnedEventId },
    State { room: OwnedRoomId, types: Vec<String> },
    Members { room: OwnedRoomId },
    WaitRoom { room: OwnedRoomId, membership: String },
    WaitMember { room: OwnedRoomId, user: OwnedUserId },
    WaitEvent { room: OwnedRoomId, event: OwnedEventId },
    PageBack { room: OwnedRoomId },
    Timeline { room: OwnedRoomId },
    Messages { room: OwnedRoomId },
    Unread { room: OwnedRoomId },
    Read { room: OwnedRoomId, event: OwnedEventId, thread: Option<String> },
    Threads { room: OwnedRoomId },
    FollowThread { room: OwnedRoomId, event: OwnedEventId },
    FollowsThread { room: OwnedRoomId, event: OwnedEventId },
    SendImage { room: OwnedRoomId, file: PathBuf, mimetype: String, size: Size },
    SaveThumbnail { url: OwnedMxcUri, size: Size, file: PathBuf },
    SpaceRooms { space: OwnedRoomId },
    SetPusher { app_id: String, pushkey: String, url: String },
    BootstrapCrossSigning { password: String },
    EnableRecovery,
    Recover { key: String },
    Encryption,
    Devices,
    DeleteDevice { device: OwnedDeviceId, password: String },
    RequestVerification { user: OwnedUserId, device: OwnedDeviceId },
    AwaitVerification { user: OwnedUserId },
    ConfirmVerification,
}

/// Which of the protocols a client follows the server with.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// `GET /sync`.
    Sync,
    /// Sliding sync as Element X has it: a connection for the rooms, one for encryption.
    SyncService,
    /// Sliding sync in one connection, with a list that grows and all of the state.
    WholeState,
}

impl Command {
    pub async fn run(self, session: &Session) -> Result<Value, Failure> {
        let done = json!({});
        Ok(match self {
            Self::Login { url, user, password, folder, sliding } => {
                session.log_in(&url, &user, &password, &folder, sliding).await?
            }
            Self::Logout => session.log_out().await.map(|()| done)?,
            Self::Follow { how } => session.follow(how).await.map(|()| done)?,
            Self::Hurry => session.hurry().await.map(|()| done)?,
            Self::Subscribe { rooms } => session.subscribe(&rooms).await.map(|()| done)?,
            Self::Rooms => session.rooms().await?,
            Self::CreateRoom { name, invite, encrypted } => {
                session.create_room(name, invite, encrypted).await?
            }
            Self::Join { room } => session.join(&room).await.map(|()| done)?,
            Self::Leave { room } => session.room(&room)?.leave().await.map(|()| done)?,
            Self::Send { room, r#type, content } => session.send(&room, &r#type, content).await?,
            Self::SendState { room, r#type, state_key, content } => {
                session.send_state(&room, &r#type, &state_key, content).await?
            }
            Self::Redact { room, event } => session.redact(&room, &event).await?,
            Self::State { room, types } => session.state(&room, types).await?,
            Self::Members { room } => session.members(&room).await?,
            Self::WaitRoom { room, membership } => session.wait_room(&room, &membership).await?,
            Self::WaitMember { room, user } => session.wait_member(&room, &user).await?,
            Self::WaitEvent { room, event } => session.wait_event(&room, &event).await?,
            Self::PageBack { room } => session.page_back(&room).await?,
            Self::Timeline { room } => session.timeline(&room).await?,
            Self::Messages { room } => session.messages(&room).await?,
            Self::Unread { room } => session.unread(&room)?,
            Self::Read { room, event, thread } => {
                session.read(&room, event, thread).await.map(|()| done)?
            }
            Self::Threads { room } => session.threads(&room).await?,
            Self::FollowThread { room, event } => {
                session.follow_thread(&room, event).await.map(|()| done)?
            }
            Self::FollowsThread { room, event } => session.follows_thread(&room, &event).await?,
            Self::SendImage { room, file, mimetype, size } => {
                session.send_image(&room, &file, &mimetype, size).await?
            }
            Self::SaveThumbnail { url, size, file } => {
                session.save_thumbnail(url, size, &file).await.map(|()| done)?
            }
            Self::SpaceRooms { space } => session.space_rooms(space).await?,
            Self::SetPusher { app_id, pushkey, url } => {
                session.set_pusher(app_id, pushkey, url).await.map(|()| done)?
            }
            Self::BootstrapCrossSigning { password } => {
                session.bootstrap_cross_signing(password).await.map(|()| done)?
            }
            Self::EnableRecovery => session.enable_recovery().await?,
            Self::Recover { key } => session.recover(&key).await.map(|()| done)?,
            Self::Encryption => session.encryption_state().await?,
            Self::Devices => session.devices().await?,
            Self::DeleteDevice { device, password } => {
                session.delete_device(device, password).await.map(|()| done)?
            }
            Self::RequestVerification { user, device } => {
                session.request_verification(&user, &device).await?
            }
            Self::AwaitVerification { user } => session.await_verification(&user).await?,
            Self::ConfirmVerification => session.confirm_verification().await.map(|()| done)?,
        })
    }
}
