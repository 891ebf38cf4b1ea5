#!/bin/bash
# Makes what a kind cluster needs on a machine that reaches package registries (Debian, Go modules) but no container
# registry: kind, Kubernetes, etcd, CoreDNS, containerd and the rest are compiled from Go modules, the node's root file
# system comes from Debian, and the node image is made by the unchanged `kind build node-image`.
#
#   kind.sh tools [NAME...]   compile every program (or the named ones) to $DIR/bin, unless it is there at this version
#   kind.sh image IMAGE       build the node image IMAGE in the Docker daemon of $DOCKER_HOST (needs all tools, root)
#   kind.sh kubernetes        print the version of Kubernetes
#
# $DIR is the cache. The caller (the `cluster` program) holds a lock on it, runs the Docker daemon and creates the cluster.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
KUBERNETES=1.36.3 KIND=v0.33.0 CONTAINERD=v2.3.4 CRICTL=v1.36.0 CNI=v1.9.1 ETCD=v3.6.8 COREDNS=v1.14.2 LOCALPATH=v0.0.30
# The base image has a dead loopback address for a registry, because kind first tries five times to pull it.
BASE=127.0.0.1:1/kind-base:local

say() { echo "$(date +%T) $*" >&2; }
has_sys_resource() { (( 0x$(sed -n 's/^CapBnd:\t//p' /proc/self/status) >> 24 & 1 )); }
source_dir() { go mod download -json "$1" | jq -r .Dir; }

# ---------------------------------------------------------------------------------------------------------- programs

# compile MODULE OUT PACKAGE[@VERSION] [go build flags]: through a wrapper module, so that every version is pinned by
# the program's own go.mod. -tool rather than 'go install', which refuses modules with replace directives. What made a
# program is noted beside it, so that a changed version or flag compiles it again.
compile() {
  local module=$1 out=$2 package=${3%@*} spec=$3 recipe="$*"; shift 3
  [[ -z $ONLY || " $ONLY " == *" $out "* ]] || return 0
  [ -e "bin/$out" ] && [ "$(cat "made/$out" 2>/dev/null)" = "$recipe" ] && return
  local start=$SECONDS; say "compiling $out"
  mkdir -p "go/$module" "$(dirname "bin/$out")" "$(dirname "made/$out")"
  ( cd "go/$module"; [ -e go.mod ] || go mod init "local/$module"
    [[ $spec != *@* ]] || go get -tool "$spec"
    CGO_ENABLED=0 go build -trimpath "$@" -o "$DIR/bin/$out.new" "$package" )
  mv "bin/$out.new" "bin/$out"; echo "$recipe" > "made/$out"
  say "$out: $((SECONDS - start)) s"
}

# Kubernetes requires its staging modules at v0.0.0 and replaces them by folders; replace them by the published ones.
kubernetes_module() {
  [ -e go/kubernetes/go.sum ] && grep -qw "k8s.io/kubernetes v$KUBERNETES" go/kubernetes/go.mod && return
  mkdir -p go/kubernetes
  local mod; mod=$(go mod download -json "k8s.io/kubernetes@v$KUBERNETES" | jq -r .GoMod)
  { echo "module local/kubernetes"; echo "go 1.26.0"; echo "require k8s.io/kubernetes v$KUBERNETES"
    sed -n 's/^\t\(k8s\.io\/[a-z-]*\) => \.\/staging.*/\1/p' "$mod" | sed "s/.*/replace & => & v0.${KUBERNETES#1.}/"
    printf 'tool k8s.io/kubernetes/cmd/%s\n' kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl kubeadm; } > go/kubernetes/go.mod
  printf 'package kubernetes\n' > go/kubernetes/tools.go
  (cd go/kubernetes && go mod tidy)
}

tools() {
  ONLY="$*"
  compile kind kind sigs.k8s.io/kind@$KIND -ldflags "-s -w"
  kubernetes_module
  local v=k8s.io/component-base/version p
  for p in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl kubeadm; do
    compile kubernetes $p k8s.io/kubernetes/cmd/$p \
      -ldflags "-s -w -X $v.gitVersion=v$KUBERNETES -X k8s.io/client-go/pkg/version.gitVersion=v$KUBERNETES -X $v.gitMajor=1 -X $v.gitMinor=36"
  done
  local c=github.com/containerd/containerd/v2
  for p in containerd ctr containerd-shim-runc-v2; do
    compile containerd $p $c/cmd/$p@$CONTAINERD -tags "no_aufs no_zfs no_btrfs no_devmapper" -ldflags "-s -w -X $c/version.Version=$CONTAINERD"
  done
  for p in main/ptp main/loopback ipam/host-local meta/portmap; do
    compile cni cni/"${p#*/}" github.com/containernetworking/plugins/plugins/$p@$CNI -ldflags "-s -w"
  done
  compile crictl crictl sigs.k8s.io/cri-tools/cmd/crictl@$CRICTL -ldflags "-s -w -X sigs.k8s.io/cri-tools/pkg/version.Version=$CRICTL"
  compile etcd etcd go.etcd.io/etcd/server/v3@$ETCD -ldflags "-s -w"
  compile coredns coredns github.com/coredns/coredns@$COREDNS -ldflags "-s -w"
  compile local-path local-path-provisioner github.com/rancher/local-path-provisioner@$LOCALPATH -ldflags "-s -w -X main.VERSION=$LOCALPATH"
  mkdir -p go/kindnetd; cmp -s "$HERE/kindnetd.go" go/kindnetd/main.go || { cp "$HERE/kindnetd.go" go/kindnetd/main.go; rm -f made/kindnetd; }
  compile kindnetd kindnetd local/kindnetd -ldflags "-s -w"
}

# -------------------------------------------------------------------------------------------------------- node image

# stage ROOT DEST FILE...: copy files of ROOT, and every shared library that they load, to DEST
stage() {
  local root=$1 dest=$2 f p real; shift 2
  mkdir -p "$dest"/usr/{bin,sbin,lib,lib64} "$dest"/{etc,run,tmp,var}
  for p in bin sbin lib lib64; do ln -sfn usr/$p "$dest/$p"; done
  for f in "$@"; do
    { echo "$f"; chroot "$root" ldd "$f" 2>/dev/null | grep -o '/[^ ]*' || true; } | while read -r p; do
      real=$(chroot "$root" readlink -f "$p"); mkdir -p "$dest$(dirname "$real")" "$dest$(dirname "$p")"
      [ -e "$dest$real" ] || cp "$root$real" "$dest$real"
      [ -e "$dest$p" ] || ln -s "$real" "$dest$p"
    done
  done
}

# What kind's images/base/Dockerfile does, with debootstrap for FROM and the files taken from kind's Go module.
base() {
  local r=$DIR/rootfs f f_dir codename mirror
  awk -v r="$r/" 'index($2, r) == 1 {print $2}' /proc/mounts | sort -r | xargs -r umount -l   # of an interrupted debootstrap
  rm -rf "$r"; codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
  mirror=$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Codename: $codename" | sed -n 1p)
  say "debootstrap"; mkdir -p debs
  debootstrap --variant=minbase --cache-dir="$DIR/debs" --include=systemd,conntrack,iptables,nftables,iproute2,ethtool,kmod,libseccomp2,pigz,e2fsprogs,ca-certificates,curl,jq,procps,runc \
    "$codename" "$r" "$mirror" > log/debootstrap.log
  f_dir=$(source_dir sigs.k8s.io/kind@$KIND)/images/base/files
  install -D -m 0755 -t "$r/usr/local/bin" "$f_dir/usr/local/bin/entrypoint"
  install -D -m 0755 -t "$r/kind/bin" "$f_dir"/kind/bin/*
  (cd "$f_dir" && find etc kind/README.txt -type f) | while read -r f; do install -D -m 0644 "$f_dir/$f" "$r/$f"; done
  local u=$r/lib/systemd/system
  rm -f "$u"/sysinit.target.wants/systemd-tmpfiles-setup.service "$u"/{multi-user,local-fs,basic}.target.wants/* \
    "$r"/etc/systemd/system/*.wants/* "$u"/sockets.target.wants/*{udev,initctl}*
  echo ReadKMsg=no >> "$r/etc/systemd/journald.conf"; ln -sf /usr/lib/systemd/systemd "$r/sbin/init"
  chroot "$r" systemctl -q enable kubelet containerd undo-mount-hacks; chroot "$r" systemctl -q mask systemd-binfmt
  mkdir -p "$r/etc/kubernetes/manifests" "$r/opt/cni/bin"
  install -m 0755 bin/{containerd,ctr,containerd-shim-runc-v2,crictl} "$r/usr/local/bin/"; install -m 0755 bin/cni/* "$r/opt/cni/bin/"
  bin/ctr oci spec | jq '.hooks.createContainer += [{"path": "/kind/bin/mount-product-files.sh"}] | del(.process.rlimits)' > "$r/etc/containerd/cri-base.json"
  # differences from kind's own base image, both no-ops on cgroup v2 with all capabilities
  sed -i 's/^\(KUBELET_EXTRA_ARGS=.*\)$/\1 --fail-cgroupv1=false/' "$r/etc/default/kubelet"    # Kubernetes >= 1.35 refuses cgroup v1
  has_sys_resource || sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' "$r/etc/containerd/config.toml"
  rm -rf "$r"/var/{cache/apt/*,lib/apt/lists/*,log/*} "$r"/usr/share/{doc,man}/* "$r/etc/resolv.conf" "$r/etc/hostname"
}

# The images that a node has preloaded, under the names that kubeadm, containerd and kind's manifests ask for.
layers() {
  local l=$DIR/layers p n; rm -rf "$l"; mkdir -p "$l"
  for p in kube-apiserver kube-controller-manager kube-scheduler kube-proxy etcd local-path-provisioner; do install -D -m 0755 "bin/$p" "$l/$p/usr/local/bin/$p"; done
  install -D -m 0755 bin/coredns "$l/coredns/coredns"; install -D -m 0755 bin/kindnetd "$l/kindnetd/usr/bin/kindnetd"
  n=$l/net                                      # for kube-proxy and kindnetd
  stage rootfs "$n" /usr/sbin/xtables-nft-multi /usr/sbin/xtables-legacy-multi /usr/sbin/nft /usr/bin/ip /usr/sbin/conntrack /usr/bin/kmod /usr/bin/dash \
    $(cd rootfs && ls -d /usr/lib/*/xtables/*.so)
  for p in iptables{,-save,-restore} ip6tables{,-save,-restore}; do ln -s xtables-nft-multi "$n/usr/sbin/$p"; done
  ln -s ../bin/kmod "$n/usr/sbin/modprobe"; ln -s dash "$n/usr/bin/sh"; cp rootfs/etc/{protocols,services,ethertypes} "$n/etc/" 2>/dev/null || true
  stage rootfs "$l/local-path-helper" /usr/bin/dash /usr/bin/mkdir /usr/bin/rm; ln -s dash "$l/local-path-helper/usr/bin/sh"
  mkdir "$l/pause"; gcc -static -O2 -s -x c -o "$l/pause/pause" - <<'C'
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void down(int s) { (void)s; _exit(0); }
static void reap(int s) { (void)s; while (waitpid(-1, 0, WNOHANG) > 0); }
int main(void) { signal(SIGINT, down); signal(SIGTERM, down); signal(SIGCHLD, reap); for (;;) pause(); }
C
}

# entry NAME:TAG CONFIG LAYER...: one line of image.py's input
entry() { local n=$1 c=$2; shift 2; printf '%s\n' "$@" | jq -Rc . | jq -sc --arg n "$n" --argjson c "$c" '{name: $n, config: ($c + {Env: (["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"] + ($c.Env // []))}), layers: .}'; }
archive() { jq -s . > image.json; "$HERE/image.py" "$1" image.json; }

image() {
  local IMAGE=${1:?the name of the image} start=$SECONDS k l=$DIR/layers s=$DIR/server/kubernetes/server/bin c
  base; layers; say "writing images"
  entry $BASE '{"Env":["container=docker"],"StopSignal":"SIGRTMIN+3","Entrypoint":["/usr/local/bin/entrypoint","/sbin/init"]}' "$DIR/rootfs" | archive base.tar
  docker load -q -i base.tar; rm base.tar
  # a Kubernetes release tarball, as `kind build node-image --type file` wants it
  rm -rf server; mkdir -p "$s"; echo "v$KUBERNETES" > server/kubernetes/version; ln bin/{kubeadm,kubelet,kubectl} "$s/"
  k=$(source_dir sigs.k8s.io/kind@$KIND)
  # full names from where they are asked for: kubeadm, then kind's manifests and its containerd configuration (the last one wins)
  { bin/kubeadm config images list --kubernetes-version v$KUBERNETES
    grep -hoE '[a-z0-9.]+/[a-z0-9/-]+:v?[0-9][A-Za-z0-9.-]*' "$k"/pkg/build/nodeimage/const_*.go "$k/images/base/files/etc/containerd/config.toml"; } > images.txt
  named() { local n; n=$(grep "/$1:" images.txt | tail -n1); shift; entry "$n" "$@"; }
  for c in kube-apiserver kube-controller-manager kube-scheduler; do named $c '{}' "$l/$c" | archive "$s/$c.tar"; done
  { named kube-proxy '{}' "$l/net" "$l/kube-proxy"
    # the tarball's four archives may hold more images than their names say; kind then does not pull these
    named etcd '{}' "$l/etcd"
    named coredns '{"Entrypoint":["/coredns"]}' "$l/coredns"
    named pause '{"Entrypoint":["/pause"],"User":"65535:65535"}' "$l/pause"
    named kindnetd '{"Entrypoint":["kindnetd"]}' "$l/net" "$l/kindnetd"
    named local-path-provisioner '{}' "$l/local-path-provisioner"
    named local-path-helper '{}' "$l/local-path-helper"; } | archive "$s/kube-proxy.tar"
  tar -C server -c kubernetes | gzip -1 > server.tar.gz; rm -rf server
  say "kind build node-image"; mkdir -p tmp
  TMPDIR=$DIR/tmp bin/kind build node-image --type file "$DIR/server.tar.gz" --base-image $BASE --image "$IMAGE" > log/node-image.log 2>&1 || { tail log/node-image.log >&2; return 1; }
  docker image rm $BASE >/dev/null; rm -rf rootfs layers tmp server.tar.gz image.json images.txt; say "$IMAGE is ready: $((SECONDS - start)) s"
}

case "${1:-}" in
  tools|image) : "${DIR:?the cache folder}"; export PATH=$DIR/bin:$PATH; mkdir -p "$DIR" && cd "$DIR" && mkdir -p bin made log go; "$@" ;;
  kubernetes) echo $KUBERNETES ;;
  *) sed -n '2,12p' "$0"; exit 2 ;;
esac
