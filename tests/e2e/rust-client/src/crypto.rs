//! Cross-signing, the key backup and its recovery key, devices.

use matrix_sdk::{
    encryption::{CrossSigningStatus, recovery::RecoveryState},
    ruma::{
        OwnedDeviceId,
        api::client::uiaa::{AuthData, MatrixUserIdentifier, Password, UserIdentifier},
    },
};
use serde_json::{Value, json};

use crate::{error::Failure, session::Session};

impl Session {
    /// The password of whoever is asked for it.
    fn password_for(
        &self,
        error: &matrix_sdk::HttpError,
        password: String,
    ) -> Result<AuthData, Failure> {
        let info = error.as_uiaa_response().ok_or_else(|| Failure::from_debug(error))?;
        let user = self.client()?.user_id().map(ToString::to_string).unwrap_or_default();
        let user = UserIdentifier::Matrix(MatrixUserIdentifier::new(user));
        let mut auth = Password::new(user, password);
        auth.session.clone_from(&info.session);
        Ok(AuthData::Password(auth))
    }

    pub async fn bootstrap_cross_signing(&self, password: String) -> Result<(), Failure> {
        let encryption = self.client()?.encryption();
        match encryption.bootstrap_cross_signing(None).await {
            Err(matrix_sdk::Error::Http(error)) => {
                let auth = self.password_for(&error, password)?;
                Ok(encryption.bootstrap_cross_signing(Some(auth)).await?)
            }
            outcome => Ok(outcome?),
        }
    }

    /// Makes a key backup and secret storage; its answer has the recovery key.
    pub async fn enable_recovery(&self) -> Result<Value, Failure> {
        let recovery = self.client()?.encryption().recovery();
        let key = recovery.enable().wait_for_backups_to_upload().await?;
        Ok(json!({ "key": key }))
    }

    pub async fn recover(&self, key: &str) -> Result<(), Failure> {
        Ok(self.client()?.encryption().recovery().recover(key).await?)
    }

    pub async fn encryption_state(&self) -> Result<Value, Failure> {
        let encryption = self.client()?.encryption();
        let own = encryption.get_own_device().await?;
        let complete = |status: CrossSigningStatus| status.is_complete();
        Ok(json!({
            "verified": own.is_some_and(|device| device.is_verified_with_cross_signing()),
            "cross_signing": encryption.cross_signing_status().await.is_some_and(complete),
            "backup": encryption.backups().are_enabled().await,
            "recovery": encryption.recovery().state() == RecoveryState::Enabled,
        }))
    }

    pub async fn devices(&self) -> Result<Value, Failure> {
        let devices = self.client()?.devices().await?.devices;
        Ok(devices.iter().map(|device| json!(device.device_id)).collect())
    }

    pub async fn delete_device(
        &self,
        device: OwnedDeviceId,
        password: String,
    ) -> Result<(), Failure> {
        let (client, devices) = (self.client()?, [device]);
        if let Err(error) = client.delete_devices(&devices, None).await {
            let auth = self.password_for(&error, password)?;
            client.delete_devices(&devices, Some(auth)).await?;
        }
        Ok(())
    }
}
