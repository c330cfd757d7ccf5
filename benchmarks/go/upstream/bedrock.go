package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/url"
	"strings"
)

const (
	bedrockPrefix = "/model/"
	bedrockStream = "/converse-stream"
	bedrockWhole  = "/converse"
)

// bedrockModel is the model of a Converse path, where it is one segment, and
// whether the path asks for a stream.
func bedrockModel(escaped string) (model string, stream, ok bool) {
	stream = strings.HasSuffix(escaped, bedrockStream)
	if !strings.HasPrefix(escaped, bedrockPrefix) || !stream && !strings.HasSuffix(escaped, bedrockWhole) {
		return "", false, false
	}
	segment := strings.TrimSuffix(strings.TrimSuffix(escaped[len(bedrockPrefix):], bedrockStream), bedrockWhole)
	model, err := url.PathUnescape(segment)
	return model, stream, err == nil
}

// eventMessage is one message of AWS's event-stream encoding: lengths, their
// checksum, headers that are strings, the payload, the checksum of it all.
func eventMessage(headers [][2]string, payload string) []byte {
	var block []byte
	for _, h := range headers {
		block = append(block, byte(len(h[0])))
		block = append(block, h[0]...)
		block = append(block, 7) // a string
		block = binary.BigEndian.AppendUint16(block, uint16(len(h[1])))
		block = append(block, h[1]...)
	}
	var out []byte
	out = binary.BigEndian.AppendUint32(out, uint32(len(block)+len(payload)+16))
	out = binary.BigEndian.AppendUint32(out, uint32(len(block)))
	out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out))
	out = append(out, block...)
	out = append(out, payload...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out))
}

// bedrockEvent is an event of ConverseStream. Like Bedrock's own, each is
// padded with a field p that says nothing.
func bedrockEvent(name, fields string) []byte {
	return eventMessage([][2]string{
		{":event-type", name},
		{":content-type", "application/json"},
		{":message-type", "event"},
	}, fmt.Sprintf(`{%s,"p":"abcdefghijk"}`, fields))
}

func bedrockDialect() dialect {
	return dialect{
		contentType: "application/vnd.amazon.eventstream",
		head: func(script, string, bool) []byte {
			return bedrockEvent("messageStart", `"role":"assistant"`)
		},
		chunk: func(word string) []byte {
			return bedrockEvent("contentBlockDelta", fmt.Sprintf(`"contentBlockIndex":0,"delta":{"text":%q}`, word))
		},
		tail: func(s script, _ string, _ bool) []byte {
			out := bedrockEvent("contentBlockStop", `"contentBlockIndex":0`)
			out = append(out, bedrockEvent("messageStop", fmt.Sprintf(`"stopReason":%q`, s.finish("end_turn", "max_tokens")))...)
			usage := fmt.Sprintf(`"usage":{"inputTokens":12,"outputTokens":%d,"totalTokens":%d},"metrics":{"latencyMs":310}`, s.n, 12+s.n)
			return append(out, bedrockEvent("metadata", usage)...)
		},
		fail: eventMessage([][2]string{
			{":exception-type", "modelStreamErrorException"},
			{":content-type", "application/json"},
			{":message-type", "exception"},
		}, `{"message":"The model stopped."}`),
	}
}
