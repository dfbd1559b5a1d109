package snapshot

import (
	"bytes"
	"strings"
)

// connState is the state of a socket, as far as it matters here.
type connState uint8

const (
	// stateOther is a connection that is being opened or closed.
	stateOther connState = iota
	stateListen
	stateEstablished
	stateTimeWait
	stateCloseWait
	// stateBound is a socket that is bound, and neither listens nor is connected.
	stateBound
	// stateOpen is a socket of UDP.
	stateOpen
	// stateWord plus n is the n-th word of the table that is not known.
	stateWord
)

// maxWords is how many words for states a table may have that are not known.
const maxWords = 64

// stateWords are the words of the systems for states. What is no ASCII letter, digit or
// underscore is a *: so a word is found in any code page.
var stateWords = map[string]connState{
	"LISTENING": stateListen, "LISTEN": stateListen, "2": stateListen,
	"ESTABLISHED": stateEstablished, "ESTAB": stateEstablished, "5": stateEstablished,
	"TIME_WAIT": stateTimeWait, "TIMEWAIT": stateTimeWait, "TIME*WAIT": stateTimeWait, "11": stateTimeWait,
	"CLOSE_WAIT": stateCloseWait, "CLOSEWAIT": stateCloseWait, "CLOSE*WAIT": stateCloseWait, "8": stateCloseWait,
	"BOUND": stateBound, "100": stateBound,
	"SYN_SENT": stateOther, "SYNSENT": stateOther, "SYN*SENT": stateOther, "3": stateOther,
	"SYN_RECV": stateOther, "SYN_RECEIVED": stateOther, "SYNRECEIVED": stateOther, "SYN*RECV": stateOther, "4": stateOther,
	"FIN_WAIT_1": stateOther, "FIN_WAIT1": stateOther, "FINWAIT1": stateOther, "FIN*WAIT*1": stateOther, "6": stateOther,
	"FIN_WAIT_2": stateOther, "FIN_WAIT2": stateOther, "FINWAIT2": stateOther, "FIN*WAIT*2": stateOther, "7": stateOther,
	"CLOSING": stateOther, "9": stateOther, "LAST_ACK": stateOther, "LASTACK": stateOther, "LAST*ACK": stateOther,
	"10": stateOther, "CLOSED": stateOther, "CLOSE": stateOther, "1": stateOther, "DELETETCB": stateOther,
	"DELETE_TCB": stateOther, "12": stateOther, "UNCONN": stateBound,
	// German.
	"ABH*REN": stateListen, "HERGESTELLT": stateEstablished, "WARTEND": stateTimeWait,
	"SCHLIESSEN_WARTEN": stateCloseWait, "SCHLIE*EN_WARTEN": stateCloseWait, "GEBUNDEN": stateBound,
	"SYN_GESENDET": stateOther, "SYN_EMPFANGEN": stateOther, "FIN_WARTEN_1": stateOther, "FIN_WARTEN_2": stateOther,
	"LETZTES_ACK": stateOther, "LETZTE_BEST*TIGUNG": stateOther, "SCHLIESSEND": stateOther, "GESCHLOSSEN": stateOther,
	// French.
	"*COUTE": stateListen, "EN*COUTE": stateListen, "*_L*COUTE": stateListen, "*TABLI": stateEstablished,
	"*TABLIE": stateEstablished, "CONNECT*": stateEstablished, "ATTENTE": stateTimeWait, "TEMPS_ATTENTE": stateTimeWait,
	"ATTENTE_FERMETURE": stateCloseWait, "FERMETURE_ATTENTE": stateCloseWait, "FERMER_ATTENTE": stateCloseWait,
	"LI*": stateBound,
	// Spanish and Portuguese.
	"ESCUCHANDO": stateListen, "ESCUCHA": stateListen, "ESTABLECIDO": stateEstablished, "ESTABLECIDA": stateEstablished,
	"TIEMPO_ESPERA": stateTimeWait, "TIEMPO_DE_ESPERA": stateTimeWait, "ESPERA": stateTimeWait,
	"EN_ESPERA": stateTimeWait, "CERRAR_ESPERA": stateCloseWait, "ESPERA_CIERRE": stateCloseWait,
	"ESPERA_DE_CIERRE": stateCloseWait, "ENLAZADO": stateBound, "VINCULADO": stateBound,
	"ESCUTANDO": stateListen, "OUVINDO": stateListen, "ESTABELECIDA": stateEstablished, "ESTABELECIDO": stateEstablished,
	"TEMPO_ESPERA": stateTimeWait, "AGUARDANDO": stateTimeWait, "FECHAR_ESPERA": stateCloseWait,
	// Italian.
	"IN_ASCOLTO": stateListen, "ASCOLTO": stateListen, "STABILITA": stateEstablished, "STABILITO": stateEstablished,
	"ATTESA": stateTimeWait, "IN_ATTESA": stateTimeWait, "TEMPO_ATTESA": stateTimeWait, "TEMPO_DI_ATTESA": stateTimeWait,
	"CHIUSURA_ATTESA": stateCloseWait, "ATTESA_CHIUSURA": stateCloseWait, "CHIUDI_ATTESA": stateCloseWait,
	// Polish, Dutch.
	"NAS*UCHIWANIE": stateListen, "USTANOWIONO": stateEstablished, "CZAS_OCZEKIWANIA": stateTimeWait,
	"OCZEKIWANIE_NA_ZAMKNI*CIE": stateCloseWait, "LUISTEREN": stateListen, "TOT_STAND_GEBRACHT": stateEstablished,
}

// scriptWords are words without letters that stateWords could tell apart.
var scriptWords = map[string]connState{
	"侦听": stateListen, "监听": stateListen, "正在侦听": stateListen, "偵聽": stateListen, "接听": stateListen,
	"已建立": stateEstablished, "建立": stateEstablished, "已建立连接": stateEstablished,
	"时间等待": stateTimeWait, "等待": stateTimeWait, "超时等待": stateTimeWait, "关闭等待": stateCloseWait,
	"等待关闭": stateCloseWait, "已绑定": stateBound, "绑定": stateBound,
	"リッスン": stateListen, "リスニング": stateListen, "待ち受け": stateListen, "待機": stateListen, "リッスン中": stateListen,
	"確立": stateEstablished, "確立済み": stateEstablished, "接続済み": stateEstablished, "確立済": stateEstablished,
	"時間待ち": stateTimeWait, "タイムウェイト": stateTimeWait, "終了待ち": stateCloseWait, "クローズ待ち": stateCloseWait,
	"切断待ち": stateCloseWait, "バインド": stateBound, "バインド済み": stateBound,
	"СЛУШАЕТ": stateListen, "ПРОСЛУШИВАНИЕ": stateListen, "УСТАНОВЛЕНО": stateEstablished, "УСТАНОВЛЕНА": stateEstablished,
	"ОЖИДАНИЕ": stateTimeWait, "ОЖИДАНИЕ_ЗАКРЫТИЯ": stateCloseWait, "СВЯЗАН": stateBound,
	"수신_대기": stateListen, "수신대기": stateListen, "설정됨": stateEstablished, "연결됨": stateEstablished,
	"시간_대기": stateTimeWait, "닫기_대기": stateCloseWait,
}

// fold writes a word as stateWords has it.
func foldWord(word []byte) string {
	var out []byte
	for _, c := range bytes.ToUpper(word) {
		switch {
		case c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_':
			out = append(out, c)
		case c == ' ':
			out = append(out, '_')
		case len(out) == 0 || out[len(out)-1] != '*':
			out = append(out, '*')
		}
	}
	return string(out)
}

// state returns the state that a word means, or the number that it has in the table.
func (t *table) state(word []byte) connState {
	if s, ok := t.known[string(word)]; ok {
		return s
	}
	s, ok := stateWords[foldWord(word)]
	if !ok {
		s, ok = scriptWords[strings.ReplaceAll(strings.ToUpper(string(word)), " ", "_")]
	}
	if !ok {
		if len(t.words) == maxWords {
			return stateOther
		}
		t.words = append(t.words, string(bytes.Clone(word)))
		s = stateWord + connState(len(t.words)-1)
	}
	if t.known == nil {
		t.known = map[string]connState{}
	}
	if len(t.known) < 4*maxWords {
		t.known[string(word)] = s
	}
	return s
}

// settle decides what the words mean that are not known, by where they are used.
func (t *table) settle() {
	if len(t.words) == 0 {
		return
	}
	type use struct{ rows, unconnected, ownerless, common int }
	uses := make([]use, len(t.words))
	known := map[connState]bool{}
	for i := range t.rows {
		r := &t.rows[i]
		if r.state < stateWord {
			known[r.state] = true
			continue
		}
		u := &uses[r.state-stateWord]
		u.rows++
		if r.rport == 0 {
			u.unconnected++
			if r.lport < 1024 {
				u.common++
			}
		}
		if r.pid == 0 {
			u.ownerless++
		}
	}
	means := make([]connState, len(t.words))
	most, listens := -1, -1
	for i, u := range uses {
		if u.unconnected == u.rows && u.rows > 0 && !known[stateListen] &&
			(listens < 0 || u.common > uses[listens].common) {
			listens = i
		}
		if u.unconnected < u.rows && u.ownerless*2 < u.rows && (most < 0 || u.rows > uses[most].rows) {
			most = i
		}
	}
	for i, u := range uses {
		upper := strings.ToUpper(t.words[i])
		switch {
		case i == listens:
			means[i] = stateListen
		case u.unconnected == u.rows:
			means[i] = stateBound
		case t.ownersSeen && u.ownerless*2 >= u.rows && !known[stateTimeWait]:
			means[i] = stateTimeWait
		case i == most && !known[stateEstablished]:
			means[i] = stateEstablished
		case !strings.Contains(upper, "FIN") && strings.Contains(upper, "CLOS") && strings.Contains(upper, "WAIT"):
			means[i] = stateCloseWait
		}
	}
	for i := range t.rows {
		if r := &t.rows[i]; r.state >= stateWord {
			r.state = means[r.state-stateWord]
			if r.state == stateBound {
				t.boundSeen = true
			}
		}
	}
	for _, w := range t.words {
		t.strange = append(t.strange, name([]byte(w)))
	}
	t.words, t.known = nil, nil
}
