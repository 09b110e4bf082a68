//! What the agent can go on without for a while.

/// A kind of work that may fail now and succeed later, once others have closed their files or given memory back. A
/// failure is logged once, until it works again.
#[derive(Debug, Default)]
pub(super) struct Setback {
    is_logged: bool,
}

impl Setback {
    pub(super) fn note<T>(&mut self, result: anyhow::Result<T>) -> Option<T> {
        match result {
            Ok(done) => {
                self.is_logged = false;
                Some(done)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_logged, true) {
                    log::error!("{error:#}: tried again in a while");
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_logged_once_until_it_works_again() {
        let mut setback = Setback::default();
        assert_eq!(setback.note(Ok(1)), Some(1));
        for _ in 0..2 {
            assert_eq!(setback.note::<()>(Err(anyhow::anyhow!("no descriptors"))), None);
            assert!(setback.is_logged);
        }
        assert_eq!(setback.note(Ok(2)), Some(2));
        assert!(!setback.is_logged);
    }
}
