//! What a user of kubectl asks about.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::str::FromStr;

/// A pod, a workload, or one end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `pod/web-0`, `web-0`.
    Pod(String),
    /// `deployment/web`.
    Workload(String),
    /// `192.0.2.7:443`.
    End(SocketAddr),
}

/// kubectl's words for pods.
const PODS: [&str; 3] = ["pod", "pods", "po"];

impl FromStr for Target {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        if let Ok(end) = text.parse::<SocketAddr>() {
            return Ok(Self::End(SocketAddr::new(end.ip().to_canonical(), end.port())));
        }
        Ok(match text.split_once('/') {
            None => Self::Pod(text.to_owned()),
            Some((kind, name)) if PODS.contains(&kind) => Self::Pod(name.to_owned()),
            Some(_) => Self::Workload(text.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn targets_are_distinguished() {
        for (text, target) in [
            ("web-0", Target::Pod("web-0".to_owned())),
            ("po/web-0", Target::Pod("web-0".to_owned())),
            ("deployment/web", Target::Workload("deployment/web".to_owned())),
            ("192.0.2.7:443", Target::End("192.0.2.7:443".parse().unwrap())),
            ("[2001:db8::1]:80", Target::End("[2001:db8::1]:80".parse().unwrap())),
        ] {
            assert_eq!(text.parse(), Ok(target));
        }
    }
}
