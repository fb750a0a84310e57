//! The RSA keys with which passes of wallets are signed.

use std::fmt;

use ring::error::KeyRejected;
use ring::rand::SystemRandom;
use ring::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};

/// Why a key is of no use. Nothing of the key is in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the private key is not an unencrypted RSA key in PEM")]
    NotRsa,
    #[error("the private key is not accepted: {0}")]
    Rejected(#[from] KeyRejected),
    #[error("signing failed")]
    Signing,
}

pub(crate) struct Key(RsaKeyPair);

impl Key {
    /// PKCS#8 or PKCS#1.
    pub(crate) fn from_pem(pem: &SecretString) -> Result<Self, Error> {
        let der = PrivateKeyDer::from_pem_slice(pem.expose_secret().as_bytes());
        Ok(Self(match der.map_err(|_| Error::NotRsa)? {
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der())?,
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der())?,
            _ => return Err(Error::NotRsa),
        }))
    }

    /// The public half, as certificates have it.
    pub(crate) fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let mut signature = vec![0; self.0.public().modulus_len()];
        let random = SystemRandom::new();
        let signed = self.0.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature);
        signed.map_err(|_| Error::Signing)?;
        Ok(signature)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}
