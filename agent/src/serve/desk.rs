//! Where answers are made that wait for the pipeline, for the kernel's maps or for /proc.

use std::sync::Arc;

use agent_source::blocking;
use tokio::sync::Semaphore;

/// Makes one answer at a time, on a thread that serves nobody. Of many questions that come at once only one waits
/// for the pipeline, which waits for no more than that one in its turn.
#[derive(Clone, Debug)]
pub(super) struct Desk(Arc<Semaphore>);

impl Desk {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// Does `work` when its turn comes. It ends before the next one begins, also if nobody waits for it any more.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let turn = Arc::clone(&self.0).acquire_owned().await;
        blocking::run(move || {
            let done = work();
            drop(turn);
            done
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn one_at_a_time_though_nobody_waits() {
        let (desk, under_way) = (Desk::new(), Arc::new(AtomicUsize::new(0)));
        let work = |length: Duration| {
            let under_way = Arc::clone(&under_way);
            move || {
                let others = under_way.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(length);
                under_way.fetch_sub(1, Ordering::SeqCst);
                others
            }
        };
        let given_up = timeout(Duration::from_millis(20), desk.run(work(Duration::from_millis(200)))).await;
        assert!(given_up.is_err());
        let [one, other] = [desk.run(work(Duration::ZERO)), desk.run(work(Duration::ZERO))];
        assert_eq!(timeout(SOON, async { tokio::join!(one, other) }).await.unwrap(), (0, 0));
    }

    /// A test's runtime has one thread.
    #[tokio::test]
    async fn others_are_served_meanwhile() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let desk = Desk::new();
        let waits = desk.run(move || receiver.recv());
        let goes_on = async { sender.send(7) };
        let (seven, sent) = timeout(SOON, async { tokio::join!(waits, goes_on) }).await.unwrap();
        assert_eq!((seven, sent), (Ok(7), Ok(())));
    }
}
