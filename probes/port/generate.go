package port

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -tags linux -target amd64,arm64 -go-package port -type port_record -type port_release_record -type port_open_socket -type port_socket bpf port.bpf.c -- -O2 -g -Wall -Werror -mcpu=v3 -I../../ebpf/include -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
