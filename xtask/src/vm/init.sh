#!/bin/sh
# First process of the guest. The kernel's messages go to the first serial line; what this and the tests
# print goes to the second, where none of them can break a line. "VM: ..." is for guest.rs.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null # the kernel may have done it
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs trace /sys/kernel/tracing
mount -t cgroup2 cgroup /sys/fs/cgroup
# Where version 1 is still built in, for the limit on TCP's memory that version 2 does not have.
mkdir /sys/fs/cgroup/memory && mount -t cgroup -o memory memory /sys/fs/cgroup/memory || rmdir /sys/fs/cgroup/memory
stty -F /dev/ttyS1 raw -echo
exec >/dev/ttyS1 2>&1 </dev/null
read -r uptime _ </proc/uptime
echo "VM: boot $uptime $(uname -r)"
ip link set lo up
for module in /modules/*.ko; do
    insmod "$module" || echo "no module $module"
done
. /etc/lab
export TCPWHY_SKIPS=/tmp/skips TCPWHY_FACTS=/tmp/facts
for test in /lab/tests/*; do
    : >$TCPWHY_SKIPS
    : >$TCPWHY_FACTS
    echo "VM: run ${test##*/}"
    (cd /tmp && timeout "$LAB_PATIENCE" "$test" $LAB_ARGUMENTS)
    echo "VM: exit $?"
    sed 's/^/VM: skip /' $TCPWHY_SKIPS
    sed 's/^/VM: fact /' $TCPWHY_FACTS
done
echo "VM: done"
poweroff -f
