"""Which tools there are, how each is built, and where each lies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from go_programs import provide as providing
from go_programs.go import Go
from go_programs.modules import architecture, go_of, pin_of, read
from go_programs.provide import Kind
from go_programs.ways import Build, Program, Say, Way

HOME = Path(__file__).parent
TITLE = "chart tools"


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool: its folder here has go.mod and go.sum; `version_in` is the variable its makers put its version into."""

    name: str
    module: str
    package: str
    seconds: int
    version_in: str
    tags: str = ""

    @property
    def home(self) -> Path:
        return HOME / self.name

    @property
    def version(self) -> str:
        return pin_of(self.module, read(self.home))


TOOLS = (
    Tool(
        "helm3", "helm.sh/helm/v3", "helm.sh/helm/v3/cmd/helm", 85, "helm.sh/helm/v3/internal/version.version"
    ),
    Tool(
        "helm4", "helm.sh/helm/v4", "helm.sh/helm/v4/cmd/helm", 85, "helm.sh/helm/v4/internal/version.version"
    ),
    Tool(
        "kubeconform", "github.com/yannh/kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform", 5, "main.version"
    ),
    Tool("kube-score", "github.com/zegl/kube-score", "github.com/zegl/kube-score/cmd/kube-score", 40, "main.version"),
    Tool(
        "promtool", "github.com/prometheus/prometheus", "github.com/prometheus/prometheus/cmd/promtool", 100,
        "github.com/prometheus/common/version.Version",
        tags="remove_all_sd",  # it checks rules, and finds no targets: without the clients of a dozen clouds
    ),
)  # fmt: skip
NAMES = tuple(tool.name for tool in TOOLS)


def _kind(tool: Tool) -> Kind:
    """Each lies in a folder of its own, so that who moves one to another version leaves the others."""
    version = f"{tool.name}-{tool.version}-{architecture()}"
    return Kind(TITLE, NAMES, "HITL_CHART_TOOLS", "chart-tools", version, _go())


def ways(home: Path, say: Say) -> tuple[Way, ...]:
    """The build alone: the makers' archives lie at as many places, and what a build verifies is in the checkout."""
    return (Build(Go(home, _go(), say), {tool.name: _program(tool) for tool in TOOLS}, say),)


def provide(
    name: str,
    *,
    environment: Mapping[str, str] | None = None,
    say: Say | None = None,
    ways_of: Callable[[Path, Say], Sequence[Way]] = ways,
) -> Path:
    """Where the tool `name` lies; it is built into the cache where it is missing.

    Args:
        name: one of NAMES.
        environment: where HITL_CHART_TOOLS and HITL_CACHE are looked up (this process's).
        say: told what is being done and what failed on the way (lines on standard error).
        ways_of: the ways to try, given cache and `say`, for what is neither given nor in the cache (the build).

    Raises:
        ProvisionFailed: it could not be had; the message says what was tried and what to do.
    """
    tool = next(tool for tool in TOOLS if tool.name == name)
    return providing.provide(_kind(tool), [name], ways_of, environment=environment, say=say)[name]


def _program(tool: Tool) -> Program:
    stamps = {tool.version_in: f"v{tool.version}"}
    if tool.name == "helm3":
        # Helm 3 is told the Kubernetes that it takes for granted without a cluster; unstamped it says 1.20, which our
        # chart refuses. Helm 4 finds it by itself. Version 0.37 of the client is that of Kubernetes 1.37.
        minor = pin_of("k8s.io/client-go", read(tool.home)).split(".")[1]
        for place in ("helm.sh/helm/v3/pkg/lint/rules", "helm.sh/helm/v3/pkg/chartutil"):
            stamps |= {f"{place}.k8sVersionMajor": "1", f"{place}.k8sVersionMinor": minor}
    return Program(tool.package, tool.home, tool.seconds, stamps, tool.tags)


def _go() -> str:
    """The newest Go that one of them wants."""
    return max(
        (go_of(read(tool.home)) for tool in TOOLS), key=lambda version: [int(part) for part in version.split(".")]
    )
