package drop

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -tags linux -target bpfel -go-package drop -type drop_key -type drop_count -type drop_socket bpf drop.bpf.c -- -O2 -g -Wall -Werror -I../../ebpf/include -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
