//! Work that waits for a disk, the kernel or a lock: on a thread of the runtime's that serves nobody.

use std::future::pending;
use std::panic;

use tokio::task::spawn_blocking;

/// Does `work` on such a thread. Once begun it goes on, whether this is waited for or not.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => panic::resume_unwind(panic),
            // The runtime ends, and so does who waits here.
            Err(_cancelled) => pending().await,
        },
    }
}
