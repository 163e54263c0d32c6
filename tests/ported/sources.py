"""Models as people write them for torch: the text of a module each, and what it is called with.

Every text is run twice, with `torch` and with ours under its name: nothing but imports differs.
They are in the style of models that are published, one for each thing that such models do and that
others do not: a kind of constructor, an import that only training needs, a way to build a mask.
"""
from __future__ import annotations

from typing import NamedTuple


class Ported(NamedTuple):
    """A model's text, how one is made, and the types of its inputs; numbers behind `<` are limits.
    """

    text: str
    make: str
    inputs: tuple[str, ...]


MODELS = {
    "mlp_with_a_loss_and_an_optimizer": Ported('''
import torch
import torch.nn as nn
import torch.optim as optim
from torch.utils.data import DataLoader, Dataset

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

class Rows(Dataset):
    def __len__(self):
        return 3

class Net(nn.Module):
    def __init__(self, sizes):
        super(Net, self).__init__()
        self.criterion = nn.CrossEntropyLoss()
        layers = []
        for before, after in zip(sizes[:-1], sizes[1:]):
            layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers[:-2]).to(device)
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.xavier_uniform_(m.weight.data)
                m.bias.data.fill_(0.01)

    def forward(self, x, target=None):
        out = self.body(x.view(x.size(0), -1))
        if target is not None:
            return self.criterion(out, target)
        return out
''', "Net([12, 16, 3])", ("f32[B, 3, 4]",)),
    "graph_convolution_of_old": Ported('''
import math
import torch
from torch.nn.parameter import Parameter
from torch.nn.modules.module import Module
import torch.nn.functional as F
from torch.autograd import Variable

class GraphConvolution(Module):
    def __init__(self, in_features, out_features):
        super(GraphConvolution, self).__init__()
        self.weight = Parameter(torch.FloatTensor(in_features, out_features))
        self.bias = Parameter(torch.Tensor(out_features))
        bound = 1. / math.sqrt(self.weight.size(1))
        self.weight.data.uniform_(-bound, bound)
        self.bias.data.uniform_(-bound, bound)

    def forward(self, input: torch.FloatTensor, adj: torch.FloatTensor):
        return torch.mm(adj, torch.mm(input, self.weight)) + self.bias

class Graph(Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = GraphConvolution(4, 6), GraphConvolution(6, 3)

    def forward(self, x, adj):
        x = F.dropout(F.relu(self.first(x, adj)), 0.5, training=self.training)
        return F.log_softmax(self.last(x, adj), dim=1)
''', "Graph()", ("f32[N, 4]", "f32[N, N]")),
    "attention_of_pairs": Ported('''
import torch
import torch.nn as nn
import torch.nn.functional as F

class Pairs(nn.Module):
    def __init__(self, width, alpha=0.2):
        super().__init__()
        self.w = nn.Linear(width, width, bias=False)
        self.a = nn.Parameter(torch.empty(2 * width, 1))
        nn.init.xavier_uniform_(self.a.data, gain=1.414)
        self.leaky = nn.LeakyReLU(alpha)

    def forward(self, h, adj):
        wh = self.w(h)
        n = wh.size()[0]
        rows = wh.repeat_interleave(n, dim=0)
        columns = wh.repeat(n, 1)
        e = self.leaky(torch.cat([rows, columns], dim=1) @ self.a).view(n, n)
        e = torch.where(adj > 0, e, -9e15 * torch.ones_like(e))
        return F.elu(torch.matmul(F.softmax(e, dim=1), wh))
''', "Pairs(4)", ("f32[N, 4]", "f32[N, N]")),
    "gpt_that_asserts_its_block": Ported('''
import math
from dataclasses import dataclass
import torch
import torch.nn as nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

@dataclass
class Config:
    block: int = 8
    vocabulary: int = 11
    layers: int = 2
    heads: int = 2
    width: int = 16

class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(c.width, 3 * c.width), nn.Linear(c.width, c.width)
        self.heads = c.heads
        self.register_buffer("bias", torch.tril(torch.ones(c.block, c.block))
                             .view(1, 1, c.block, c.block))

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(C, dim=2)
        q, k, v = (t.view(B, T, self.heads, C // self.heads).transpose(1, 2) for t in (q, k, v))
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
        y = F.softmax(att, dim=-1) @ v
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))

class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.ln, self.attn = nn.LayerNorm(c.width), Attention(c)
        self.mlp = nn.ModuleDict(dict(up=nn.Linear(c.width, 32), down=nn.Linear(32, c.width)))
        m = self.mlp
        self.mlpf = lambda x: m.down(F.gelu(m.up(x), approximate="tanh"))

    def forward(self, x):
        x = x + self.attn(self.ln(x))
        return x + self.mlpf(x)

class GPT(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.config = c
        self.transformer = nn.ModuleDict(dict(
            wte=nn.Embedding(c.vocabulary, c.width), wpe=nn.Embedding(c.block, c.width),
            h=nn.ModuleList([Block(c) for _ in range(c.layers)])))
        self.lm_head = nn.Linear(c.width, c.vocabulary, bias=False)
        self.lm_head.weight = self.transformer.wte.weight
        self.count = sum(p.numel() for p in self.parameters())

    def forward(self, idx, targets=None):
        device = idx.device
        b, t = idx.size()
        assert t <= self.config.block, f"cannot forward {t}, the block is {self.config.block}"
        pos = torch.arange(0, t, dtype=torch.long, device=device).unsqueeze(0)
        x = self.transformer.wte(idx) + self.transformer.wpe(pos)
        for block in self.transformer.h:
            x = block(x)
        loss = None
        if targets is not None:
            loss = F.cross_entropy(x, targets)
        return self.lm_head(x), loss
''', "GPT(Config())", ("i64[B, 6]<11",)),
    "positions_with_casts": Ported('''
import torch
from torch import nn

def positions(h, w, dim, temperature: int = 10000, dtype=torch.float32):
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    omega = torch.arange(dim // 4) / (dim // 4 - 1)
    omega = 1.0 / (temperature ** omega)
    y, x = y.flatten()[:, None] * omega[None, :], x.flatten()[:, None] * omega[None, :]
    return torch.cat((x.sin(), x.cos(), y.sin(), y.cos()), dim=1).type(dtype)

class Patches(nn.Module):
    def __init__(self, dim=16):
        super().__init__()
        self.pe = positions(2, 3, dim)
        self.embed = nn.Linear(5, dim)
        layer = nn.TransformerEncoderLayer(dim, 4, 32, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, patches):
        x = self.embed(patches)
        x += self.pe.to(patches.device, dtype=x.dtype)
        return self.encoder(x).mean(dim=1)
''', "Patches()", ("f32[B, 6, 5]",)),
    "splines": Ported('''
import math
import torch
import torch.nn.functional as F

class Spline(torch.nn.Module):
    def __init__(self, into, out, cells=5, order=3, base_activation=torch.nn.SiLU):
        super().__init__()
        self.into, self.out, self.order = into, out, order
        h = 2 / cells
        grid = (torch.arange(-order, cells + order + 1) * h - 1).expand(into, -1).contiguous()
        self.register_buffer("grid", grid)
        self.base_weight = torch.nn.Parameter(torch.Tensor(out, into))
        self.spline_weight = torch.nn.Parameter(torch.Tensor(out, into, cells + order))
        torch.nn.init.kaiming_uniform_(self.base_weight, a=math.sqrt(5))
        self.base_activation = base_activation()
        with torch.no_grad():
            y = torch.rand(cells + 1, into, out) - 1 / 2
            self.spline_weight.data.copy_(self.coefficients(self.grid.T[order:-order], y))

    def bases(self, x: torch.Tensor):
        assert x.dim() == 2 and x.size(1) == self.into
        grid, x = self.grid, x.unsqueeze(-1)
        b = ((x >= grid[:, :-1]) & (x < grid[:, 1:])).to(x.dtype)
        for k in range(1, self.order + 1):
            b = ((x - grid[:, :-(k + 1)]) / (grid[:, k:-1] - grid[:, :-(k + 1)]) * b[:, :, :-1]
                 ) + ((grid[:, k + 1:] - x) / (grid[:, k + 1:] - grid[:, 1:(-k)]) * b[:, :, 1:])
        assert b.size() == (x.size(0), self.into, grid.size(1) - 1 - self.order)
        return b.contiguous()

    def coefficients(self, x, y):
        a, b = self.bases(x).transpose(0, 1), y.transpose(0, 1)
        return torch.linalg.lstsq(a, b).solution.permute(2, 0, 1).contiguous()

    def forward(self, x):
        base = F.linear(self.base_activation(x), self.base_weight)
        spline = F.linear(self.bases(x).view(x.size(0), -1),
                          self.spline_weight.view(self.out, -1))
        return base + spline
''', "torch.nn.Sequential(Spline(3, 4), Spline(4, 2))", ("f32[B, 3]",)),
    "linear_forecast_by_channel": Ported('''
import torch
import torch.nn as nn
from types import SimpleNamespace

class Model(nn.Module):
    def __init__(self, configs):
        super(Model, self).__init__()
        self.horizon, self.channels = configs.pred_len, configs.enc_in
        self.Linear = nn.ModuleList()
        for i in range(self.channels):
            self.Linear.append(nn.Linear(configs.seq_len, self.horizon))

    def forward(self, x):
        last = x[:, -1:, :].detach()
        x = x - last
        output = torch.zeros([x.size(0), self.horizon, x.size(2)], dtype=x.dtype).to(x.device)
        for i in range(self.channels):
            output[:, :, i] = self.Linear[i](x[:, :, i])
        return output + last
''', "Model(SimpleNamespace(seq_len=8, pred_len=4, enc_in=3))", ("f32[B, 8, 3]",)),
    "rows_of_a_table": Ported('''
import torch
import torch.nn as nn
from torch import Tensor
from typing import Dict, List, Optional

class Tabular(nn.Module):
    def __init__(self, cardinalities: List[int], numbers: int, width: int):
        super().__init__()
        self.embeddings = nn.ModuleDict({str(i): nn.Embedding(n, width)
                                         for i, n in enumerate(cardinalities)})
        self.cross = nn.ParameterList([nn.Parameter(torch.Tensor(1, width)) for _ in range(2)])
        for p in self.cross:
            nn.init.normal_(p, std=0.1)
        self.number = nn.Linear(numbers, width)
        self.out = nn.Linear(width, 1)

    def forward(self, X: Tensor) -> Dict[str, Optional[Tensor]]:
        ids = [self.embeddings[str(i)](X[:, i:i + 1].long())
               for i in range(len(self.embeddings))]
        fields = torch.cat(ids + [self.number(X[:, 2:]).unsqueeze(1)], dim=1)
        square, squares = fields.sum(1).pow(2), fields.pow(2).sum(1)
        logit = X.new_zeros((X.shape[0], 1))
        logit += self.out(0.5 * (square - squares))
        for p in self.cross:
            logit += (fields * p).sum(dim=(1, 2)).unsqueeze(-1)
        return {"logit": logit, "probability": torch.sigmoid(logit), "aux": None}
''', "Tabular([4, 3], 3, 5)", ("f32[B, 5]+",)),
    "function_with_a_gradient_of_its_own": Ported('''
import torch
import torch.nn as nn
from torch.autograd import Function

class SparsemaxFunction(Function):
    @staticmethod
    def forward(ctx, input, dim=-1):
        ctx.dim = dim
        top, _ = input.max(dim=dim, keepdim=True)
        input = input - top
        ordered, _ = torch.sort(input, descending=True, dim=dim)
        sums = ordered.cumsum(dim) - 1
        rho = torch.arange(1, input.size(dim) + 1, device=input.device, dtype=input.dtype)
        support = rho * ordered > sums
        size = support.sum(dim=dim).unsqueeze(dim)
        tau = sums.gather(dim, size - 1)
        tau /= size.to(input.dtype)
        output = torch.clamp(input - tau, min=0)
        ctx.save_for_backward(size, output)
        return output

    @staticmethod
    def backward(ctx, grad):
        return grad, None

sparsemax = SparsemaxFunction.apply

class Masks(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 4, bias=False)
        self.scale = torch.sqrt(torch.FloatTensor([0.5]))

    def forward(self, x, priors):
        return sparsemax(self.fc(x) * self.scale * priors, -1)
''', "Masks()", ("f32[B, 6]", "f32[B, 4]+")),
    "cell_in_a_loop": Ported('''
import torch
import torch.nn as nn

class Cell(nn.Module):
    def __init__(self, into, width):
        super().__init__()
        self.width = width
        self.weight_ih = nn.Parameter(torch.Tensor(4 * width, into))
        self.weight_hh = nn.Parameter(torch.Tensor(4 * width, width))
        self.bias = nn.Parameter(torch.zeros(4 * width))
        for weight in self.parameters():
            nn.init.uniform_(weight, -0.3, 0.3)

    def forward(self, x, state=None):
        if state is None:
            h = c = x.new_zeros(x.size(0), self.width)
        else:
            h, c = state
        gates = x @ self.weight_ih.t() + h @ self.weight_hh.t() + self.bias
        i, f, g, o = gates.chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

class Sequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = Cell(3, 5)

    def forward(self, xs):
        state, hidden = None, []
        for t in range(xs.size(1)):
            state = self.cell(xs[:, t], state)
            hidden.append(state[0])
        return torch.stack(hidden, dim=1), state
''', "Sequence()", ("f32[B, 6, 3]",)),
    "rendered_rays": Ported('''
import torch
import torch.nn as nn

class Radiance(nn.Module):
    def __init__(self, bands=3, width=16):
        super().__init__()
        self.bands = bands
        self.body = nn.Sequential(nn.Linear(3 + 6 * bands, width), nn.ReLU(), nn.Linear(width, 4))

    @staticmethod
    def encoded(x, bands):
        out = [x]
        for j in range(bands):
            out += [torch.sin(2 ** j * x), torch.cos(2 ** j * x)]
        return torch.cat(out, dim=-1)

    def forward(self, origin, direction, t):
        points = origin[:, None, :] + direction[:, None, :] * t[..., None]
        raw = self.body(self.encoded(points.reshape(-1, 3), self.bands))
        raw = raw.reshape(list(points.shape[:-1]) + [4])
        far = torch.Tensor([1e10]).expand(t[..., :1].shape)
        delta = torch.cat([t[..., 1:] - t[..., :-1], far], dim=-1)
        alpha = 1. - torch.exp(-torch.relu(raw[..., 3]) * delta.abs())
        through = torch.cumprod(1. - alpha + 1e-10, -1)
        through = torch.roll(through, 1, -1)
        through[..., 0] = 1.
        weights = alpha * through
        return torch.sum(weights[..., None] * torch.sigmoid(raw[..., :3]), dim=-2), weights
''', "Radiance()", ("f32[B, 3]", "f32[B, 3]", "f32[B, 5]+")),
    "adapters_by_low_rank": Ported('''
import math
import torch
import torch.nn as nn
import torch.nn.functional as F

class LoRALinear(nn.Linear):
    def __init__(self, into, out, r=2, lora_alpha=4, **kwargs):
        nn.Linear.__init__(self, into, out, **kwargs)
        self.merged = False
        self.lora_A = nn.Parameter(self.weight.new_zeros((r, into)))
        self.lora_B = nn.Parameter(self.weight.new_zeros((out, r)))
        self.scaling = lora_alpha / r
        self.weight.requires_grad = False
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        nn.init.normal_(self.lora_B)

    def forward(self, x: torch.Tensor):
        result = F.linear(x, self.weight, bias=self.bias)
        return result + (x @ self.lora_A.transpose(0, 1) @ self.lora_B.transpose(0, 1)
                         ) * self.scaling
''', "nn.Sequential(LoRALinear(6, 8), nn.GELU(), LoRALinear(8, 3, bias=False))", ("f32[B, 6]",)),
    "experts_that_are_all_asked": Ported('''
import torch
import torch.nn as nn
import torch.nn.functional as F

class Experts(nn.Module):
    def __init__(self, width=6, experts=4, k=2):
        super().__init__()
        self.gate = nn.Linear(width, experts)
        self.experts = nn.ModuleList([nn.Linear(width, 3) for _ in range(experts)])
        self.k = k

    def forward(self, x):
        values, indices = torch.topk(self.gate(x), self.k, dim=-1)
        mask = torch.full_like(self.gate(x), float("-inf")).scatter(-1, indices, values)
        weights = F.softmax(mask, dim=-1)
        outputs = torch.stack([expert(x) for expert in self.experts], dim=-2)
        return (weights.unsqueeze(-1) * outputs).sum(dim=-2), weights.mean(dim=0)
''', "Experts()", ("f32[B, 6]",)),
    "policy_with_a_mask": Ported('''
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.distributions import Categorical, Normal

class ActorCritic(nn.Module):
    def __init__(self, observations, actions, std=0.0):
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(observations, 8), nn.Tanh(), nn.Linear(8, actions))
        self.critic = nn.Sequential(nn.Linear(observations, 8), nn.Tanh(), nn.Linear(8, 1))
        self.log_std = nn.Parameter(torch.ones(1, actions) * std)

    def act(self, x):
        return Categorical(logits=self.actor(x)).sample()

    def forward(self, x, legal):
        logits = self.actor(x)
        logits.masked_fill_(~legal, -1e8)
        mean = torch.tanh(logits)
        return F.softmax(logits, dim=-1), self.critic(x).squeeze(-1), self.log_std.expand_as(mean)
''', "ActorCritic(5, 3)", ("f32[B, 5]", "bool[B, 3]")),
    "autoencoder_that_samples_when_trained": Ported('''
import torch
import torch.nn as nn
import torch.nn.functional as F

class VAE(nn.Module):
    def __init__(self):
        super(VAE, self).__init__()
        self.fc1 = nn.Linear(12, 8)
        self.fc21, self.fc22 = nn.Linear(8, 2), nn.Linear(8, 2)
        self.fc3, self.fc4 = nn.Linear(2, 8), nn.Linear(8, 12)

    def reparameterize(self, mu, logvar):
        if self.training:
            std = torch.exp(0.5 * logvar)
            return torch.randn_like(std).mul(std).add_(mu)
        return mu

    def forward(self, x):
        h = F.relu(self.fc1(x.view(-1, 12)))
        mu, logvar = self.fc21(h), self.fc22(h)
        z = self.reparameterize(mu, logvar)
        return F.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, logvar
''', "VAE()", ("f32[B, 1, 3, 4]",)),
    "einops_patches": Ported('''
import torch
from torch import nn
from einops import rearrange, repeat
from einops.layers.torch import Rearrange

class ViT(nn.Module):
    def __init__(self, p=2, dim=8):
        super().__init__()
        self.embed = nn.Sequential(
            Rearrange("b c (h p1) (w p2) -> b (h w) (p1 p2 c)", p1=p, p2=p),
            nn.LayerNorm(p * p * 3), nn.Linear(p * p * 3, dim))
        self.cls = nn.Parameter(torch.randn(dim))
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)

    def forward(self, img):
        x = self.embed(img)
        b, n, _ = x.shape
        x = torch.cat((repeat(self.cls, "d -> b 1 d", b=b), x), dim=1)
        q, k, v = map(lambda t: rearrange(t, "b n (h d) -> b h n d", h=2),
                      self.qkv(x).chunk(3, dim=-1))
        attn = torch.einsum("bhid,bhjd->bhij", q, k).softmax(dim=-1)
        return rearrange(attn @ v, "b h n d -> b n (h d)")[:, 0]
''', "ViT()", ("f32[B, 3, 4, 4]",)),
}
