use proptest::prelude::*;

use super::*;

const UID: &str = "9a64b8de-3f56-4f7c-8a0a-1d2f3a4b5c6d";
const UID_: &str = "9a64b8de_3f56_4f7c_8a0a_1d2f3a4b5c6d";
const HASH: &str = "3f9e0c5d7b1a4e6f8091a2b3c4d5e6f7";
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OUTER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

/// Pod, container and unit of a path in which `U`, `_`, `H`, `C` and `O` stand for the constants.
fn parsed(path: &str) -> [Option<Arc<str>>; 3] {
    let path = path
        .replace("{U}", UID)
        .replace("{_}", UID_)
        .replace("{H}", HASH)
        .replace("{C}", ID)
        .replace("{O}", OUTER);
    let Lineage { pod, container, unit } = Lineage::parse(&path);
    [pod, container, unit]
}

#[test]
fn containers_of_pods() {
    for path in [
        "/kubepods/burstable/pod{U}/{C}",
        "/kubepods/besteffort/pod{U}/{C}",
        "/kubepods/pod{U}/{C}",
        "/kubelet/kubepods/burstable/pod{U}/{C}",
        "/docker/{O}/kubelet/kubepods/burstable/pod{U}/{C}",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{_}.slice/cri-containerd-{C}.scope",
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{_}.slice/crio-{C}.scope",
        "/kubepods.slice/kubepods-pod{_}.slice/docker-{C}.scope",
        "/kubepods.slice/kubepods-pod{_}.slice/crio-{C}.scope/container",
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/\
         kubelet-kubepods-burstable-pod{_}.slice/cri-containerd-{C}.scope",
        "/system.slice/docker-{O}.scope/kubelet.slice/kubelet-kubepods.slice/\
         kubelet-kubepods-pod{_}.slice/cri-containerd-{C}.scope",
        "/system.slice/containerd.service/kubepods-burstable-pod{_}.slice:cri-containerd:{C}",
        "/kubepods/burstable/pod{U}/crio-{C}",
        // What runs inside may make cgroups too: systemd, Docker in a pod.
        "/kubepods/pod{U}/{C}/system.slice/nginx.service",
        "/kubepods/pod{U}/{C}/docker/{O}",
    ] {
        assert_eq!(parsed(path), [Some(UID.into()), Some(ID.into()), None], "{path}");
    }
}

#[test]
fn static_pods_carry_the_hash_of_their_manifest() {
    for path in [
        "/kubepods/burstable/pod{H}/{C}",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{H}.slice/cri-containerd-{C}.scope",
    ] {
        assert_eq!(parsed(path), [Some(HASH.into()), Some(ID.into()), None], "{path}");
    }
}

#[test]
fn pods_without_a_container() {
    for path in [
        "/kubepods/burstable/pod{U}",
        "/kubepods.slice/kubepods-pod{_}.slice",
        "/kubepods.slice/kubepods-pod{_}.slice/crio-conmon-{C}.scope",
    ] {
        assert_eq!(parsed(path), [Some(UID.into()), None, None], "{path}");
    }
}

#[test]
fn containers_without_a_pod() {
    for path in [
        "/docker/{C}",
        "/system.slice/docker-{C}.scope",
        "/machine.slice/libpod-{C}.scope",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{C}.scope/container",
        "/libpod_parent/libpod-{C}",
        "/docker/{C}/docker/{O}",
    ] {
        assert_eq!(parsed(path), [None, Some(ID.into()), None], "{path}");
    }
}

#[test]
fn units_outside_any_pod() {
    for (path, unit) in [
        ("/system.slice/ssh.service", "ssh.service"),
        ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/editor.service", "user@1000.service"),
        ("/init.scope", "init.scope"),
        ("/machine.slice/libpod-conmon-{C}.scope", &format!("libpod-conmon-{ID}.scope")),
    ] {
        assert_eq!(parsed(path), [None, None, Some(unit.into())], "{path}");
    }
}

#[test]
fn nobody_in_particular() {
    for path in [
        "",
        "/",
        "/system.slice",
        "/kubepods",
        "/kubepods/burstable",
        "/default/shell",
        "/podman",
        "/pod",
        "/kubepods-pod.slice",
        "/other-pod{_}.slice",
        "/.service",
        "/process_api/1ff0040a37194a4aa4927caa8cc2d05d",
    ] {
        assert_eq!(parsed(path), [None, None, None], "{path}");
    }
}

fn driver() -> impl Strategy<Value = (&'static str, &'static str, &'static str)> {
    let qos = prop_oneof![Just(""), Just("burstable"), Just("besteffort")];
    let runtime = prop_oneof![Just("cri-containerd-"), Just("crio-"), Just("docker-")];
    let above = prop_oneof![Just(""), Just("/kubelet"), Just("/a/b c/\u{fffd}")];
    (above, qos, runtime)
}

proptest! {
    #[test]
    fn no_path_panics(path in ".*") {
        Lineage::parse(&path);
    }

    #[test]
    fn what_the_drivers_write_is_read_back(
        (above, qos, runtime) in driver(),
        uid in "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        id in "[0-9a-f]{64}",
    ) {
        let level = if qos.is_empty() { String::new() } else { format!("{qos}/") };
        let cgroupfs = format!("{above}/kubepods/{level}pod{uid}/{id}");
        let dash = if qos.is_empty() { String::new() } else { format!("-{qos}") };
        let slice = format!("kubepods{dash}-pod{}.slice", uid.replace('-', "_"));
        let systemd = format!("{above}/kubepods.slice/kubepods{dash}.slice/{slice}/{runtime}{id}.scope");
        let expected = Lineage { pod: Some(uid.into()), container: Some(id.into()), unit: None };
        prop_assert_eq!(Lineage::parse(&cgroupfs), expected.clone());
        prop_assert_eq!(Lineage::parse(&systemd), expected);
    }
}
