//! Who may change the plugins: whoever presents the token that lies in the data directory.

use std::fmt;

use axum::http::{HeaderMap, StatusCode, header};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::problem::Problem;

/// The administrator's token, and the turn of uploads.
pub struct Admin {
    /// SHA-256 of the token: what is compared then has one length, and tells nothing when its time is measured.
    token: [u8; 32],
    /// One upload is taken in at a time: each is held in memory until it is live.
    turn: Semaphore,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    /// Whoever knows `token` is the administrator.
    pub fn new(token: &str) -> Self {
        Self { token: Sha256::digest(token).into(), turn: Semaphore::new(1) }
    }

    /// Fails unless the request carries `Authorization: Bearer TOKEN`.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (given.next(), given.next()) else {
            return Err(refused("", "this needs the administrator's token: Authorization: Bearer TOKEN"));
        };
        let bearer = value.to_str().ok().and_then(|value| value.split_once(' '));
        let Some((_, token)) = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
            return Err(refused("", "the Authorization has to be Bearer TOKEN"));
        };
        let given: [u8; 32] = Sha256::digest(token.trim()).into();
        let differs = given.iter().zip(self.token).fold(0, |differs, (given, token)| differs | (given ^ token));
        if differs == 0 {
            Ok(())
        } else {
            Err(refused(", error=\"invalid_token\"", "the token is not the administrator's"))
        }
    }

    /// Waits until no other upload is taken in.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.turn.acquire().await.map_err(Problem::internal)
    }
}

fn refused(more: &str, detail: &str) -> Problem {
    let challenge = format!("Bearer realm=\"taskhost\"{more}");
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Not authorised", detail).with_challenge(&challenge)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, header};

    use super::Admin;

    fn admits(values: &[&str]) -> bool {
        let headers: HeaderMap = values.iter().map(|value| (header::AUTHORIZATION, value.parse().unwrap())).collect();
        Admin::new("0123456789abcdef").check(&headers).is_ok()
    }

    #[test]
    fn only_the_whole_token_admits() {
        assert!(admits(&["Bearer 0123456789abcdef"]) && admits(&["bearer  0123456789abcdef"]));
        for wrong in ["Bearer 0123456789abcde", "Bearer 0123456789abcdef0", "Bearer ", "Basic 0123456789abcdef", "x"] {
            assert!(!admits(&[wrong]), "{wrong}");
        }
        assert!(!admits(&[]));
        assert!(!admits(&["Bearer 0123456789abcdef", "Bearer 0123456789abcdef"]), "which of both?");
    }
}
