package etw

import (
	"context"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"

	"lostbeat/model"
)

// mapperTimeout is how long the endpoint mapper may take to answer: it may be the one that is sick.
const mapperTimeout = 3 * time.Second

// endpointMapper are the functions of the RPC runtime that list what the endpoint mapper has.
type endpointMapper struct {
	begin, next, done, bindingText, freeBinding, freeText *windows.LazyProc
	inquiry                                               uintptr
}

func newEndpointMapper() *endpointMapper {
	dll := windows.NewLazySystemDLL("rpcrt4.dll")
	return &endpointMapper{
		begin: dll.NewProc("RpcMgmtEpEltInqBegin"), next: dll.NewProc("RpcMgmtEpEltInqNextW"),
		done: dll.NewProc("RpcMgmtEpEltInqDone"), bindingText: dll.NewProc("RpcBindingToStringBindingW"),
		freeBinding: dll.NewProc("RpcBindingFree"), freeText: dll.NewProc("RpcStringFreeW"),
	}
}

// read returns all endpoints of this host.
func (e *endpointMapper) read() (list []registeredEndpoint, err error) {
	for _, p := range []*windows.LazyProc{e.begin, e.next, e.done, e.bindingText, e.freeBinding, e.freeText} {
		if p.Find() != nil {
			return nil, &CallError{Call: "look up " + p.Name, Code: errorNotFound}
		}
	}
	const call, all = "ask the endpoint mapper", 0 // RPC_C_EP_ALL_ELTS
	if code, _, _ := e.begin.Call(0, all, 0, 0, 0, uintptr(unsafe.Pointer(&e.inquiry))); code != 0 {
		return nil, fail(call, code)
	}
	defer func() { _, _, _ = e.done.Call(uintptr(unsafe.Pointer(&e.inquiry))) }()
	err = readEndpoints(e.step, func(m registeredEndpoint) { list = append(list, m) })
	return list, err
}

// step returns the next endpoint.
func (e *endpointMapper) step() (m registeredEndpoint, err error) {
	var id struct { // RPC_IF_ID
		uuid         GUID
		major, minor uint16
	}
	var binding uintptr
	var object GUID
	var annotation *uint16
	code, _, _ := e.next.Call(
		e.inquiry, uintptr(unsafe.Pointer(&id)), uintptr(unsafe.Pointer(&binding)), uintptr(unsafe.Pointer(&object)),
		uintptr(unsafe.Pointer(&annotation)),
	)
	if code == errorNoMoreEntries {
		return m, errNoMore
	}
	if code != 0 {
		return m, fail("ask the endpoint mapper", code)
	}
	if annotation != nil {
		_, _, _ = e.freeText.Call(uintptr(unsafe.Pointer(&annotation)))
	}
	defer func() { _, _, _ = e.freeBinding.Call(uintptr(unsafe.Pointer(&binding))) }()
	m.Interface, m.Version = id.uuid, id.major
	var text *uint16
	if code, _, _ := e.bindingText.Call(binding, uintptr(unsafe.Pointer(&text))); code != 0 {
		return m, fail("read a binding of the endpoint mapper", code)
	}
	m.Binding = windows.UTF16PtrToString(text)
	_, _, _ = e.freeText.Call(uintptr(unsafe.Pointer(&text)))
	return m, nil
}

// addEndpoints adds the endpoints that are registered at time t. A call into Windows cannot be called off: one that
// does not answer in time is left to itself, and what it returns later is not used.
func (p *poll) addEndpoints(t model.Time, out *model.Builder) {
	type answer struct {
		list []registeredEndpoint
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		list, err := newEndpointMapper().read()
		answers <- answer{list, err}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), mapperTimeout)
	defer cancel()
	select {
	case a := <-answers:
		p.said("endpoint mapper", a.err, t, out)
		for i := range a.list {
			if v, ok := a.list[i].endpoint(t); ok {
				out.AddRPCEndpoint(v)
			}
		}
	case <-ctx.Done():
		p.said("endpoint mapper", fmt.Errorf("the endpoint mapper did not answer within %s", mapperTimeout), t, out)
	}
}
