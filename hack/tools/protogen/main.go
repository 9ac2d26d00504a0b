// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Protogen generates Go from a proto file, as protoc with its plugins protoc-gen-go and protoc-gen-go-grpc does. The compiler is
// a Go module, so that nobody has to install one. It is run in this module, which pins their versions.
//
//	go run ./protogen DIRECTORY FILE.proto IMPORT-PATH
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: go run ./protogen DIRECTORY FILE.proto IMPORT-PATH")
		os.Exit(2)
	}
	if err := generate(context.Background(), os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

// generate writes what the plugins make of directory/file beside it.
func generate(ctx context.Context, directory, file, importPath string) error {
	compiler := protocompile.Compiler{
		Resolver:       &protocompile.SourceResolver{ImportPaths: []string{directory}},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(ctx, file)
	if err != nil {
		return err
	}
	request := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{file},
		Parameter:      proto.String("paths=source_relative,M" + file + "=" + importPath),
		ProtoFile:      []*descriptorpb.FileDescriptorProto{protoutil.ProtoFromFileDescriptor(files[0])},
	}
	for _, plugin := range []string{"protoc-gen-go", "protoc-gen-go-grpc"} {
		reply, err := run(ctx, plugin, request)
		if err != nil {
			return fmt.Errorf("%s: %w", plugin, err)
		}
		for _, made := range reply.GetFile() {
			if err := os.WriteFile(filepath.Join(directory, made.GetName()), []byte(made.GetContent()), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// run has a plugin answer the request.
func run(ctx context.Context, plugin string, request *pluginpb.CodeGeneratorRequest) (*pluginpb.CodeGeneratorResponse, error) {
	in, err := proto.Marshal(request)
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, "go", "tool", plugin)
	command.Stdin, command.Stderr = bytes.NewReader(in), os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, err
	}
	reply := &pluginpb.CodeGeneratorResponse{}
	if err := proto.Unmarshal(out, reply); err != nil {
		return nil, err
	}
	if reply.Error != nil {
		return nil, errors.New(reply.GetError())
	}
	return reply, nil
}
