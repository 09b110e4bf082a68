//! Whose files and sockets are believed.

use std::env;

/// Root's, this user's, or the user's who asked for this by sudo: `sudo tcpwhy record trouble.rec` at home.
pub(super) fn is_own(uid: u32) -> bool {
    is_one_of(uid, rustix::process::geteuid().as_raw(), env::var("SUDO_UID").ok().as_deref())
}

/// Only root's environment can have been set by sudo.
fn is_one_of(uid: u32, user: u32, caller: Option<&str>) -> bool {
    let caller = caller.filter(|_| user == 0).and_then(|caller| caller.parse().ok());
    [Some(0), Some(user), caller].contains(&Some(uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_the_user_and_who_called_sudo_are_believed() {
        assert!(is_one_of(0, 1000, None) && is_one_of(1000, 1000, None));
        assert!(is_one_of(1000, 0, Some("1000")));
        assert!(!is_one_of(1001, 0, Some("1000")));
        assert!(!is_one_of(1000, 0, None));
        assert!(!is_one_of(1000, 0, Some("")));
        assert!(!is_one_of(1001, 1000, Some("1001")), "a variable that anybody may set");
    }
}
