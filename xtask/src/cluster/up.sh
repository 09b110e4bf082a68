#!/bin/bash
# The first process of a cluster: starts its parts, and ends them by its own end.
# $1: folder of programs, $2: folder for state, $3: name of its cgroup in every hierarchy.
set -eu
B=$1 S=$2 G=$3; export PATH=$B:/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p $S/{pki,log,etcd,containerd,kubelet,kernel,cni,mnt}; cd $S
mount --make-rshared /
for d in /run /var/log /var/lib/cni /var/lib/kubelet /etc/kubernetes; do mkdir -p $d; mount -t tmpfs -o mode=755 tmpfs $d; done
mkdir -p /run/lock
# The kubelet sets these; here it finds them set.
for f in vm/overcommit_memory:1 vm/panic_on_oom:0 kernel/panic:10 kernel/panic_on_oops:1 kernel/keys/root_maxkeys:1000000 kernel/keys/root_maxbytes:25000000; do
  n=$S/kernel/$(echo ${f%:*} | tr / _); echo ${f#*:} > $n; mount --bind $n /proc/sys/${f%:*}; done
ip link set lo up; ip link add node0 type bridge; ip addr add 192.0.2.1/24 dev node0; ip link set node0 up
ip addr add 203.0.113.1/32 dev node0
cat > $S/cni/10.conf <<K
{"cniVersion":"0.4.0","name":"lab","type":"bridge","bridge":"pods0","isGateway":true,"ipMasq":false,"ipam":{"type":"host-local","ranges":[[{"subnet":"198.51.100.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}}
K
cat > containerd.toml <<K
version = 2
root = "$S/containerd"
state = "/run/ctd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/busybox:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$S/cni"
K
cd pki
openssl genrsa -out sa.key 2048 2>/dev/null; openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=lab -days 2 2>/dev/null
mk() { openssl req -newkey rsa:2048 -nodes -keyout $1.key -out $1.csr -subj "$2" 2>/dev/null; openssl x509 -req -in $1.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out $1.crt -extfile <(printf "subjectAltName=$3") 2>/dev/null; }
mk apiserver /CN=kube-apiserver "IP:127.0.0.1,IP:203.0.113.1,IP:192.0.2.1,DNS:kubernetes.default.svc"
mk admin /O=system:masters/CN=admin DNS:admin
mk kubelet /O=system:nodes/CN=system:node:node1 "IP:192.0.2.1,DNS:node1"
mk kcm /CN=system:kube-controller-manager DNS:kcm
mk sched /CN=system:kube-scheduler DNS:sched
cd ..
for u in admin kubelet kcm sched; do cat > $u.conf <<K
{"apiVersion":"v1","kind":"Config","clusters":[{"name":"lab","cluster":{"server":"https://192.0.2.1","certificate-authority":"$S/pki/ca.crt"}}],"users":[{"name":"u","user":{"client-certificate":"$S/pki/$u.crt","client-key":"$S/pki/$u.key"}}],"contexts":[{"name":"x","context":{"cluster":"lab","user":"u"}}],"current-context":"x"}
K
done
cat > kubelet.yaml <<K
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $S/pki/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: /$G
cgroupsPerQOS: true
enforceNodeAllocatable: []
failSwapOn: false
makeIPTablesUtilChains: false
protectKernelDefaults: true
tlsCertFile: $S/pki/kubelet.crt
tlsPrivateKeyFile: $S/pki/kubelet.key
evictionHard: {memory.available: "50Mi", nodefs.available: "0%", imagefs.available: "0%"}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
resolvConf: /etc/resolv.conf
K
for h in /sys/fs/cgroup/*; do [ -d $h ] && mkdir -p $h/$G; done
for f in cpus mems; do cat /sys/fs/cgroup/cpuset/cpuset.$f > /sys/fs/cgroup/cpuset/$G/cpuset.$f 2>/dev/null || true; done
run() { local n=$1; shift; "$@" > log/$n.log 2>&1 & echo $! > $n.pid; }

run containerd containerd --config containerd.toml
run etcd etcd --data-dir etcd --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380

cat > apiserver.sh <<K
exec kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --advertise-address=192.0.2.1 --secure-port=443 --tls-cert-file=pki/apiserver.crt --tls-private-key-file=pki/apiserver.key --client-ca-file=pki/ca.crt --service-account-key-file=pki/sa.pub --service-account-signing-key-file=pki/sa.key --service-account-issuer=https://kubernetes.default.svc --service-cluster-ip-range=203.0.113.0/24 --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --kubelet-client-certificate=pki/admin.crt --kubelet-client-key=pki/admin.key --kubelet-certificate-authority=pki/ca.crt --kubelet-preferred-address-types=InternalIP --allow-privileged=true
K
cat > kubelet.sh <<K
exec kubelet --config=kubelet.yaml --kubeconfig=kubelet.conf --hostname-override=node1 --node-ip=192.0.2.1 --container-runtime=remote --container-runtime-endpoint=unix:///run/containerd/containerd.sock --root-dir=$S/kubelet
K
run apiserver sh apiserver.sh
for i in $(seq 240); do curl -sk --cert pki/admin.crt --key pki/admin.key https://127.0.0.1/readyz | grep -q ok && break; sleep 0.5; done
run kcm kube-controller-manager --kubeconfig=kcm.conf --service-account-private-key-file=pki/sa.key --root-ca-file=pki/ca.crt --use-service-account-credentials=true --leader-elect=false
run sched kube-scheduler --kubeconfig=sched.conf --leader-elect=false
run kubelet sh kubelet.sh
echo up
# It reaps what others leave.
while :; do wait -n 2>/dev/null || sleep 1; done
