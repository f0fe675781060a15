//! Log lines: the runtime's console in the Worker, standard error in native tests.

/// Logs something that the operator should look at.
pub fn error(message: &str) {
    #[cfg(target_arch = "wasm32")]
    worker::console_error!("{message}");
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("error: {message}");
}

/// Logs something unusual that the server has dealt with.
pub fn warn(message: &str) {
    #[cfg(target_arch = "wasm32")]
    worker::console_warn!("{message}");
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("warning: {message}");
}
