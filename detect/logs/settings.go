package logs

import "lostbeat/detect"

// Settings are the thresholds of log-silence; docs/DETECTORS.md explains each.
type Settings struct {
	MaxExpected  float64
	LeastGap     detect.Duration
	MinSamples   uint64
	BusyShare    float64
	RobustZ      float64
	Significance float64
}

// Fields lists the settings with their defaults, meanings and reasons.
func (s *Settings) Fields() []detect.Field {
	return []detect.Field{
		{
			Key:     "max_expected",
			Default: "0.01",
			Doc:     "how many silences of its length a log may let expect in all of it for one to be a gap",
			Reason:  "one log in a hundred has such a silence by chance",
			Value:   &s.MaxExpected,
		},
		{
			Key:     "least_gap",
			Default: "2s",
			Doc:     "shortest silence of a log that is a gap",
			Reason:  "no heartbeat of the programs whose logs are read is lost in less",
			Value:   &s.LeastGap,
		},
		{
			Key:     "min_samples",
			Default: "30",
			Doc:     "samples of a counter before it is judged",
			Reason:  "as counters.min_samples",
			Value:   &s.MinSamples,
		},
		{
			Key:     "busy_share",
			Default: "0.25",
			Doc:     "DPC or interrupt share of one CPU during the silence that can be called unusual at all",
			Reason:  "as counters.busy_share",
			Value:   &s.BusyShare,
		},
		{
			Key:     "robust_z",
			Default: "6",
			Doc:     "distance from the CPU's median, in robust standard deviations, that is unusual",
			Reason:  "as counters.robust_z",
			Value:   &s.RobustZ,
		},
		{
			Key:     "significance",
			Default: "0.01",
			Doc:     "largest probability of the coincidence under shifts of the counter log, corrected for all that was tested",
			Reason:  "1 in 100",
			Value:   &s.Significance,
		},
	}
}
