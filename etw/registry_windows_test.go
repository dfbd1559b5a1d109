package etw

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/windows/registry"
)

// TestReadAdapters reads keys as drivers write them.
func TestReadAdapters(t *testing.T) {
	const path = `Software\lostbeat-test\class`
	create := func(name string) registry.Key {
		key, _, err := registry.CreateKey(registry.CURRENT_USER, path+name, registry.ALL_ACCESS)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = key.Close()
			if err := registry.DeleteKey(registry.CURRENT_USER, path+name); err != nil {
				t.Error(err)
			}
		})
		return key
	}
	create("")
	first, second := create(`\0000`), create(`\0001`)
	create(`\Configuration`)
	const id = "{11111111-2222-3333-4444-555555555555}"
	if err := errors.Join(
		first.SetStringValue("NetCfgInstanceId", id), first.SetStringValue("*RSS", "1"),
		first.SetDWordValue("*NumRSSQueues", 4), first.SetStringValue("*FlowControl", "3"),
		second.SetStringValue("NetCfgInstanceId", "{}"),
	); err != nil {
		t.Fatal(err)
	}
	got, err := readAdapters(registry.CURRENT_USER, path)
	want := []adapterKey{
		{Instance: id, Values: map[string]string{"*RSS": "1", "*NumRSSQueues": "4"}},
		{Instance: "{}", Values: map[string]string{}},
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if _, err := readAdapters(registry.CURRENT_USER, path+`\none`); err == nil {
		t.Error("a class that does not exist is read")
	}
}

// TestEndpointMapper asks the endpoint mapper of this host. Wine has none: that is an error with a hint.
func TestEndpointMapper(t *testing.T) {
	list, err := newEndpointMapper().read()
	var failed *CallError
	switch {
	case errors.As(err, &failed) && failed.Code == errorNoMapper:
		if failed.Hint() == "" {
			t.Errorf("no hint for %v", err)
		}
	case err != nil || len(list) == 0:
		t.Errorf("%d endpoints: %v", len(list), err)
	}
	for i := range list {
		if list[i].Binding == "" {
			t.Errorf("an endpoint without a binding: %+v", list[i])
		}
	}
}
