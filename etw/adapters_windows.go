package etw

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"

	"lostbeat/model"
)

// adapterClass is the key of the class of network adapters.
const adapterClass = `SYSTEM\CurrentControlSet\Control\Class\{4d36e972-e325-11ce-bfc1-08002be10318}`

// maxAdapters is how many adapters of the registry are read: keys of adapters that are gone stay there.
const maxAdapters = 4096

// readAdapters reads the keys of all adapters under a path.
func readAdapters(root registry.Key, path string) (list []adapterKey, err error) {
	class, err := registry.OpenKey(root, path, registry.ENUMERATE_SUB_KEYS)
	if err != nil {
		return nil, fmt.Errorf("read the registry keys of the network adapters: %w", err)
	}
	defer class.Close()
	names, err := class.ReadSubKeyNames(maxAdapters)
	if err != nil && len(names) == 0 {
		return nil, fmt.Errorf("read the registry keys of the network adapters: %w", err)
	}
	for _, name := range names {
		key, err := registry.OpenKey(class, name, registry.QUERY_VALUE)
		if err != nil {
			continue // "Properties" is for the system only
		}
		a := adapterKey{Values: make(map[string]string)}
		a.Instance, _, _ = key.GetStringValue("NetCfgInstanceId")
		for _, keyword := range rssKeywords {
			if v, _, err := key.GetStringValue(keyword); err == nil {
				a.Values[keyword] = v
			} else if n, _, err := key.GetIntegerValue(keyword); err == nil {
				a.Values[keyword] = fmt.Sprint(n) // some drivers write numbers
			}
		}
		_ = key.Close()
		if a.Instance != "" {
			list = append(list, a)
		}
	}
	return list, nil
}

// addAdapters adds how receive-side scaling is configured on the adapters that are up.
func (p *poll) addAdapters(t model.Time, out *model.Builder) {
	keys, err := readAdapters(registry.LOCAL_MACHINE, adapterClass)
	if err != nil {
		p.said("receive-side scaling", err, t, out)
		return
	}
	for _, luid := range slices.Sorted(maps.Keys(p.devices)) {
		row := p.devices[luid]
		id := row.InterfaceGuid
		guid := (*GUID)(unsafe.Pointer(&id)).String()
		for i := range keys {
			if strings.EqualFold(strings.Trim(keys[i].Instance, "{}"), guid) {
				keys[i].addTo(out, t, int64(row.InterfaceIndex), windows.UTF16ToString(row.Description[:]))
			}
		}
	}
}
