//! Verification of a device by comparing emoji (SAS), asked for or answered.

use futures_util::StreamExt;
use matrix_sdk::{
    Client,
    encryption::verification::{
        SasState, SasVerification, Verification, VerificationRequest, VerificationRequestState,
    },
    ruma::{
        DeviceId, UserId, events::key::verification::request::ToDeviceKeyVerificationRequestEvent,
    },
};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};

use crate::{error::Failure, session::Session};

/// The requests by to-device message, in the order of their arrival.
pub struct IncomingRequests {
    sender: mpsc::UnboundedSender<String>,
    receiver: Mutex<mpsc::UnboundedReceiver<String>>,
}

impl Default for IncomingRequests {
    fn default() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver: Mutex::new(receiver) }
    }
}

impl IncomingRequests {
    pub fn listen(&self, client: &Client) {
        let sender = self.sender.clone();
        client.add_event_handler(move |event: ToDeviceKeyVerificationRequestEvent| {
            let sent = sender.send(event.content.transaction_id.to_string());
            async move { sent.unwrap_or_default() }
        });
    }

    async fn next(&self) -> Result<String, Failure> {
        let request = self.receiver.lock().await.recv().await;
        request.ok_or_else(|| Failure::new("no request can come"))
    }
}

impl Session {
    /// Asks a device for verification and starts it; resolves with the emoji to compare.
    pub async fn request_verification(
        &self,
        user: &UserId,
        device: &DeviceId,
    ) -> Result<Value, Failure> {
        let encryption = self.client()?.encryption();
        // A new session has not asked for anyone's devices yet.
        encryption.request_user_identity(user).await?;
        let found = encryption.get_device(user, device).await?;
        let device = found.ok_or_else(|| Failure::new(format!("{device} is not known")))?;
        let request = device.request_verification().await?;
        wait_for_request(&request, |state| {
            matches!(state, VerificationRequestState::Ready { .. }).then_some(())
        })
        .await?;
        let sas = request.start_sas().await?;
        let sas = sas.ok_or_else(|| Failure::new("emoji are not supported"))?;
        self.show_emoji(sas).await
    }

    /// Accepts the next request of `user`; resolves with the emoji to compare.
    pub async fn await_verification(&self, user: &UserId) -> Result<Value, Failure> {
        let flow = self.incoming.next().await?;
        let found = self.client()?.encryption().get_verification_request(user, &flow).await;
        let request = found.ok_or_else(|| Failure::new(format!("{flow} is not known")))?;
        request.accept().await?;
        let sas = wait_for_request(&request, |state| match state {
            VerificationRequestState::Transitioned { verification: Verification::SasV1(sas) } => {
                Some(sas)
            }
            _ => None,
        })
        .await?;
        sas.accept().await?;
        self.show_emoji(sas).await
    }

    /// The emoji are the same: resolves when both sides have said so.
    pub async fn confirm_verification(&self) -> Result<(), Failure> {
        let sas = self.sas.lock().await.take();
        let sas = sas.ok_or_else(|| Failure::new("nothing is being verified"))?;
        sas.confirm().await?;
        wait_for_sas(&sas, |state| matches!(state, SasState::Done { .. }).then_some(())).await
    }

    async fn show_emoji(&self, sas: SasVerification) -> Result<Value, Failure> {
        let emoji = wait_for_sas(&sas, |state| match state {
            SasState::KeysExchanged { emojis, .. } => emojis,
            _ => None,
        })
        .await?;
        *self.sas.lock().await = Some(sas);
        Ok(json!({ "emoji": emoji.emojis.map(|emoji| emoji.symbol) }))
    }
}

async fn wait_for_request<T>(
    request: &VerificationRequest,
    look: impl Fn(VerificationRequestState) -> Option<T>,
) -> Result<T, Failure> {
    let mut changes = request.changes();
    let mut state = request.state();
    loop {
        if let VerificationRequestState::Cancelled(info) = &state {
            return Err(Failure::new(format!("cancelled: {}", info.reason())));
        }
        if let Some(found) = look(state) {
            return Ok(found);
        }
        state = changes.next().await.ok_or_else(|| Failure::new("the request is gone"))?;
    }
}

async fn wait_for_sas<T>(
    sas: &SasVerification,
    look: impl Fn(SasState) -> Option<T>,
) -> Result<T, Failure> {
    let mut changes = sas.changes();
    let mut state = sas.state();
    loop {
        if let SasState::Cancelled(info) = &state {
            return Err(Failure::new(format!("cancelled: {}", info.reason())));
        }
        if let Some(found) = look(state) {
            return Ok(found);
        }
        state = changes.next().await.ok_or_else(|| Failure::new("the verification is gone"))?;
    }
}
