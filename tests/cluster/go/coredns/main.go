// CoreDNS with the few plugins that a cluster's names need: the ordinary binary also carries three cloud SDKs, which cost minutes to compile.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() {
	// A query passes through the plugins in this order.
	dnsserver.Directives = []string{"bind", "health", "errors", "template", "kubernetes"}
	coremain.Run()
}
