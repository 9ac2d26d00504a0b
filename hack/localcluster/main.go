// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Command localcluster runs a Kubernetes control plane with simulated nodes on this machine, for tests and for trying things
// out. It needs no containers, no privileges and no network. As root on Linux it can have a real node besides.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/queuescaler/queuescaler/hack/localcluster/internal/cluster"
)

const dataDirVariable = "LOCALCLUSTER_DATA_DIR"

func dataDirDefault() string {
	if dir := os.Getenv(dataDirVariable); dir != "" {
		return dir
	}
	return ".localcluster"
}

func main() {
	if len(os.Args) > 1 {
		if run, ok := programs()[os.Args[1]]; ok {
			cluster.EndWithParent()
			os.Args = os.Args[1:]
			os.Exit(run())
		}
	}
	if err := rootCommand().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "localcluster",
		Short:         "Run Kubernetes on this machine, with simulated nodes or a real one",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	pflag.CommandLine.VisitAll(func(f *pflag.Flag) { f.Hidden = true }) // those of the Kubernetes libraries
	dataDir := root.PersistentFlags().String("data-dir", dataDirDefault(),
		"where the cluster is kept; its default is\n$"+dataDirVariable+" or")
	root.AddCommand(upCommand(dataDir), downCommand(dataDir), restartCommand(dataDir), nodeCommand(dataDir),
		runCommand(dataDir), imageCommand(), kubectlCommand())
	return root
}

// kubectlCommand is there for the help only: main runs kubectl before flags are parsed.
func kubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use: "kubectl", Short: "Run kubectl against the cluster in the default --data-dir",
		Run: func(*cobra.Command, []string) {}, DisableFlagParsing: true,
	}
}

func upCommand(dataDir *string) *cobra.Command {
	opts := cluster.Options{Out: os.Stdout}
	var detach, untilStdinCloses bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the cluster, or resume a stopped one, and run until Ctrl-C",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := cluster.At(*dataDir)
			if err != nil {
				return err
			}
			if err := dir.Create(); err != nil {
				return err
			}
			if running, pid := dir.Running(); running {
				fmt.Printf("Already running (process %d); the flags of this call are ignored.\n", pid)
				if err := dir.AwaitReady(); err != nil {
					return err
				}
				printUse(dir)
				return nil
			}
			if detach {
				return upDetached(dir)
			}
			return up(dir, opts, untilStdinCloses)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&opts.APIServerPort, "apiserver-port", 0, "port on 127.0.0.1; 0: the one it had, or any")
	flags.IntVar(&opts.Nodes, "nodes", 3, "simulated nodes to have at least")
	flags.Float64Var(&opts.PodReadySeconds, "pod-ready-seconds", 1, "how long simulated pods take to be Ready")
	flags.BoolVar(&detach, "detach", false, "leave it running in the background; 'down' stops it")
	flags.BoolVar(&untilStdinCloses, "until-stdin-closes", false, "stop when standard input ends")
	return cmd
}

func up(dir cluster.Dir, opts cluster.Options, untilStdinCloses bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if untilStdinCloses {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin) // ended or failed, who started us is gone
			stop()
		}()
	}
	fmt.Printf("Kubernetes 1.37.2 with simulated nodes, in %s\n", dir)
	opts.Use = func(ctx context.Context) {
		printUse(dir)
		fmt.Println("Ctrl-C or 'localcluster down' stops it. The data stays for the next 'up'.")
		<-ctx.Done()
	}
	err := cluster.Up(ctx, dir, opts)
	if err == nil {
		fmt.Println("Stopped.")
	}
	return err
}

func printUse(dir cluster.Dir) {
	fmt.Printf("\n  export KUBECONFIG=%s\n  %s kubectl get nodes\n\n", dir.Kubeconfig(), os.Args[0])
}

// upDetached starts this command anew, detached from this terminal, and shows its output until it is ready.
func upDetached(dir cluster.Dir) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(dir.Log("localcluster"), os.O_CREATE|os.O_TRUNC|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := append([]string{}, os.Args[1:]...)
	cmd := exec.Command(self, append(args, "--detach=false", "--data-dir="+string(dir))...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	os.Remove(dir.ReadyFile())
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	shown := int64(0)
	show := func() {
		n, _ := io.Copy(os.Stdout, io.NewSectionReader(log, shown, 1<<20))
		shown += n
	}
	for {
		select {
		case <-ended:
			show()
			return errors.New("the cluster did not start")
		case <-time.After(100 * time.Millisecond):
			show()
		}
		if _, err := os.Stat(dir.ReadyFile()); err == nil {
			fmt.Println("It runs in the background.")
			return nil
		}
	}
}

func downCommand(dataDir *string) *cobra.Command {
	var purge bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the cluster; its data stays",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := cluster.At(*dataDir)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			ran, err := dir.Down(ctx)
			if err != nil {
				return err
			}
			if ran {
				fmt.Println("Stopped.")
			} else {
				fmt.Printf("No cluster is running in %s.\n", dir)
			}
			if purge {
				return dir.Purge()
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "remove the data directory too")
	return cmd
}

func restartCommand(dataDir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "restart COMPONENT",
		Short: "Restart one component and wait until everything is healthy",
		Long: "Restart apiserver, controller-manager, scheduler, etcd, kubelet (the simulator), or of a real node\n" +
			"containerd, proxy or node-kubelet, and wait until everything is healthy.",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := cluster.At(*dataDir)
			if err != nil {
				return err
			}
			return dir.Restart(args[0])
		},
	}
}

func nodeCommand(dataDir *string) *cobra.Command {
	node := &cobra.Command{Use: "node", Short: "Lose a node, and bring it back"}
	for _, verb := range []struct {
		use, short string
		run        bool
	}{
		{"stop NAME", "Silence a node and wait until it is NotReady (about 11 s)", false},
		{"start NAME", "Let a node report again and wait until it is Ready", true},
	} {
		node.AddCommand(&cobra.Command{
			Use: verb.use, Short: verb.short, Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error {
				dir, err := cluster.At(*dataDir)
				if err != nil {
					return err
				}
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
				defer cancel()
				return dir.SetNode(ctx, args[0], verb.run)
			},
		})
	}
	return node
}
