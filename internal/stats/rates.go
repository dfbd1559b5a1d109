package stats

import "math"

// PoissonTail returns the probability of k or more events where mean are
// expected.
func PoissonTail(k uint64, mean float64) float64 {
	switch {
	case k == 0:
		return 1
	case mean <= 0:
		return 0
	}
	// The lower regularised incomplete gamma function P(k, mean).
	return gammaLower(float64(k), mean)
}

// RateRatio tests whether the rate of the first of two counts is higher than
// that of the second, each counted over its own time. It returns the ratio of
// the rates, +Inf where the second count is 0, and the p-value: given the sum
// of both, the first is binomial (Przyborowski and Wilenski 1940). Both times
// must be above zero.
func RateRatio(first uint64, firstTime float64, second uint64, secondTime float64) (ratio, p float64) {
	if first == 0 {
		return 0, 1
	}
	ratio = math.Inf(1)
	if second > 0 {
		ratio = float64(first) / firstTime * secondTime / float64(second)
	}
	return ratio, BinomialTail(first, first+second, firstTime/(firstTime+secondTime))
}

// BinomialTail returns the probability of k or more successes in n trials of
// probability p each.
func BinomialTail(k, n uint64, p float64) float64 {
	switch {
	case k == 0:
		return 1
	case k > n || p <= 0:
		return 0
	case p >= 1:
		return 1
	}
	return betaRegularised(p, float64(k), float64(n-k)+1)
}

// HypergeometricTail returns the probability that k or more of draws samples,
// taken without putting back, are among the marked ones of n.
func HypergeometricTail(k, draws, marked, n uint64) float64 {
	if draws > n || marked > n {
		return math.NaN()
	}
	least := uint64(0)
	if draws+marked > n {
		least = draws + marked - n
	}
	if k <= least {
		return 1
	}
	var sum float64
	for i := k; i <= min(draws, marked); i++ {
		sum += math.Exp(logChoose(marked, i) + logChoose(n-marked, draws-i) - logChoose(n, draws))
	}
	return min(sum, 1)
}

func logChoose(n, k uint64) float64 {
	return logGamma(float64(n)+1) - logGamma(float64(k)+1) - logGamma(float64(n-k)+1)
}

func logGamma(x float64) float64 {
	v, _ := math.Lgamma(x)
	return v
}

// precision is when a series or a continued fraction has converged.
const precision = 1e-15

// gammaLower is the lower regularised incomplete gamma function P(a, x): its
// series below a+1, one less its continued fraction above.
func gammaLower(a, x float64) float64 {
	scale := math.Exp(a*math.Log(x) - x - logGamma(a))
	if x < a+1 {
		term := 1 / a
		sum := term
		for n := a + 1; term > sum*precision; n++ {
			term *= x / n
			sum += term
		}
		return min(1, sum*scale)
	}
	// The fraction 1/(x+1-a- 1(1-a)/(x+3-a- 2(2-a)/(x+5-a- ...))).
	value := fraction(func(i float64) (float64, float64) {
		if i == 0 {
			return 1, x + 1 - a
		}
		return -i * (i - a), x + 1 - a + 2*i
	})
	return max(0, 1-scale*value)
}

// betaRegularised is the regularised incomplete beta function I_x(a, b).
func betaRegularised(x, a, b float64) float64 {
	if x > (a+1)/(a+b+2) {
		return 1 - betaRegularised(1-x, b, a)
	}
	scale := math.Exp(a*math.Log(x)+b*math.Log1p(-x)+logGamma(a+b)-logGamma(a)-logGamma(b)) / a
	value := fraction(func(i float64) (float64, float64) {
		if i == 0 {
			return 1, 1
		}
		m := math.Floor(i / 2)
		if math.Mod(i, 2) == 0 {
			return m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m)), 1
		}
		return -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1)), 1
	})
	return min(1, max(0, scale*value))
}

// fraction evaluates the continued fraction n0/(d0+ n1/(d1+ n2/(d2+ ...))) by
// the method of Lentz.
func fraction(term func(i float64) (numerator, denominator float64)) float64 {
	const tiny = 1e-300
	value, c, d := tiny, tiny, 0.0
	for i := 0.0; i < 100_000; i++ {
		n, m := term(i)
		d = m + n*d
		if d == 0 {
			d = tiny
		}
		if c = m + n/c; c == 0 {
			c = tiny
		}
		d = 1 / d
		step := c * d
		value *= step
		if math.Abs(step-1) < precision {
			break
		}
	}
	return value
}
