// Package service names the services that usually stand behind ports.
//
// The names are those of the IANA registry or, where the program that people run there by default has not registered
// its port, of that program's documentation. A port says nothing for certain about what uses it: the process does.
package service

import "lostbeat/model"

// Of returns the usual service at a port, empty where none is known. A program that has several ports of its own
// beside each other is named for each.
func Of(p model.Protocol, port uint16) string {
	switch p {
	case model.ProtocolTCP:
		if name := tcp[port]; name != "" {
			return name
		}
	case model.ProtocolUDP:
		if name := udp[port]; name != "" {
			return name
		}
	default:
		return ""
	}
	return both[port]
}

// Between returns the service of a connection: that of its local port or, where that one has none, of its remote one.
func Between(p model.Protocol, local, remote uint16) string {
	if name := Of(p, local); name != "" {
		return name
	}
	return Of(p, remote)
}

// both are services that have a port of TCP and of UDP.
var both = map[uint16]string{
	53:    "dns",
	88:    "kerberos",
	111:   "rpcbind",
	389:   "ldap",
	464:   "kpasswd",
	2049:  "nfs",
	3343:  "ms-cluster",
	3389:  "rdp",
	5060:  "sip",
	5061:  "sips",
	7946:  "docker-swarm",
	8300:  "consul",
	8301:  "consul",
	8302:  "consul",
	11211: "memcached",
	20048: "mountd",
}

var tcp = map[uint16]string{
	20:    "ftp-data",
	21:    "ftp",
	22:    "ssh",
	23:    "telnet",
	25:    "smtp",
	80:    "http",
	110:   "pop3",
	135:   "epmap",
	139:   "netbios-ssn",
	143:   "imap",
	179:   "bgp",
	443:   "https",
	445:   "smb",
	465:   "smtps",
	587:   "submission",
	593:   "rpc-http",
	636:   "ldaps",
	860:   "iscsi",
	873:   "rsync",
	989:   "ftps-data",
	990:   "ftps",
	993:   "imaps",
	995:   "pop3s",
	1433:  "ms-sql",
	1521:  "oracle",
	2181:  "zookeeper",
	2224:  "pcsd",
	2375:  "docker",
	2376:  "docker",
	2377:  "docker-swarm",
	2379:  "etcd",
	2380:  "etcd-peer",
	2888:  "zookeeper",
	3121:  "pacemaker",
	3260:  "iscsi",
	3268:  "global-catalog",
	3269:  "global-catalog",
	3300:  "ceph-mon",
	3306:  "mysql",
	3888:  "zookeeper",
	4369:  "epmd",
	4567:  "galera",
	5432:  "postgresql",
	5671:  "amqps",
	5672:  "amqp",
	5900:  "vnc",
	5985:  "winrm",
	5986:  "winrm",
	6379:  "redis",
	6443:  "kubernetes",
	6789:  "ceph-mon",
	7001:  "cassandra",
	8086:  "influxdb",
	8500:  "consul",
	9042:  "cassandra",
	9090:  "prometheus",
	9092:  "kafka",
	9093:  "alertmanager",
	9100:  "node-exporter",
	9200:  "elasticsearch",
	9300:  "elasticsearch",
	9389:  "ad-webservices",
	10250: "kubelet",
	16379: "redis-cluster",
	21064: "dlm",
	24007: "gluster",
	26379: "redis-sentinel",
	27017: "mongodb",
}

var udp = map[uint16]string{
	67:    "dhcp",
	68:    "dhcp",
	69:    "tftp",
	123:   "ntp",
	137:   "netbios-ns",
	138:   "netbios-dgm",
	161:   "snmp",
	162:   "snmp-trap",
	443:   "quic",
	500:   "ike",
	514:   "syslog",
	546:   "dhcpv6",
	547:   "dhcpv6",
	623:   "ipmi",
	1812:  "radius",
	1813:  "radius-acct",
	1900:  "ssdp",
	1985:  "hsrp",
	3702:  "ws-discovery",
	3784:  "bfd",
	4500:  "ipsec-nat",
	4784:  "bfd",
	4789:  "vxlan",
	5353:  "mdns",
	5355:  "llmnr",
	5404:  "corosync",
	5405:  "corosync",
	6081:  "geneve",
	8472:  "vxlan",
	51820: "wireguard",
}
