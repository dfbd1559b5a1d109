package platform

import (
	"path"
	"strings"
	"time"

	"lostbeat/internal/cgroup"
)

// Quota is a limit on the CPU time of this process, set on a control group that it is in.
type Quota struct {
	// Group is the control group as it is seen here.
	Group string
	// CPUs is the limit in CPUs: 0.2 is a fifth of one.
	CPUs float64
	// Throttled is for how long the group has been stopped by it so far, added over CPUs.
	Throttled time.Duration
}

// Quotas reads the limits on the CPU time of this process, of its control group and those above it as far as they can
// be seen here. proc is /proc, mounts what [cgroup.Mounted] found there.
func Quotas(proc string, mounts cgroup.Mounts) (quotas []Quota) {
	groups := cgroup.Of(proc, "self")
	read := func(tree cgroup.Tree, group string) {
		tree.Upwards(group, func(_, folder string) {
			limit, period, ok := cgroup.Limit(folder)
			if !ok || limit == 0 {
				return
			}
			quotas = append(quotas, Quota{
				Group:     path.Join("/", strings.TrimPrefix(folder, tree.Point)),
				CPUs:      float64(limit) / float64(period),
				Throttled: time.Duration(cgroup.ThrottledNS(folder)),
			})
		})
	}
	read(mounts.CPU, groups.CPU)
	read(mounts.Unified, groups.Unified)
	return quotas
}
