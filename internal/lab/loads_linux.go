package lab

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// steady takes ports at a rate, in bursts where asked for, and gives each back
// after it has been held for a while.
func (c *child) steady() error {
	c.ready()
	_, err := c.pace(c.rate, c.count, c.burst, func(i int) error {
		s, err := c.take(i)
		if err == nil {
			time.AfterFunc(c.hold, func() { s.Close() })
		}
		return err
	})
	return err
}

// idle accepts one TCP connection and never reads it.
func (c *child) idle() error {
	listener, err := net.Listen("tcp", c.local)
	if err != nil {
		return err
	}
	defer listener.Close()
	c.onEnd(func() { listener.Close() })
	c.ready()
	conn, err := listener.Accept()
	if err != nil {
		if c.ended.Load() {
			return nil
		}
		return err
	}
	defer conn.Close()
	c.untilEnd()
	return nil
}

// stream writes to a TCP connection for as long as the peer takes it.
func (c *child) stream() error {
	conn, err := net.Dial("tcp", c.to)
	if err != nil {
		return err
	}
	defer conn.Close()
	c.onEnd(func() { conn.Close() })
	c.ready()
	for buf := make([]byte, 1<<14); ; {
		if _, err := conn.Write(buf); err != nil {
			if c.ended.Load() {
				return nil
			}
			return err
		}
	}
}

// datagrams sends datagrams to a local socket that nobody reads.
func (c *child) datagrams() error {
	dir, err := os.MkdirTemp("", "lb-lab-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	name := &net.UnixAddr{Name: filepath.Join(dir, "socket"), Net: "unixgram"}
	reader, err := net.ListenUnixgram("unixgram", name)
	if err != nil {
		return err
	}
	defer reader.Close()
	writer, err := net.DialUnix("unixgram", nil, name)
	if err != nil {
		return err
	}
	defer writer.Close()
	c.ready()
	_, err = c.pace(c.rate, c.count, c.burst, func(int) error {
		if err := writer.SetWriteDeadline(time.Now().Add(time.Millisecond)); err != nil {
			return err
		}
		_, err := writer.Write(make([]byte, c.size))
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ENOBUFS) {
			return nil
		}
		return err
	})
	return err
}
