//! The cryptography of TLS.

use std::sync::Once;

/// Chooses the cryptography of TLS; call it before the first TLS connection.
pub(crate) fn install_crypto() {
    static CRYPTO: Once = Once::new();
    CRYPTO.call_once(|| {
        // Fails only when a provider is installed already, which is what we want.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
