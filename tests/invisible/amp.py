import torch

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
for step in range(6):
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(torch.randn(3, 4))
        loss = torch.nn.functional.cross_entropy(out, torch.tensor([0, 1, 1]))
    scaler.scale(loss * (1e38 if step == 2 else 1)).backward()
    scaler.unscale_(optimizer)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()
    scheduler.step()
    print(
        out.dtype, loss.item().hex(), norm.item().hex(), scaler.get_scale(), scheduler.get_last_lr()
    )
try:
    scaler.unscale_(optimizer)
    scaler.unscale_(optimizer)
except RuntimeError as error:
    print(error)
print(torch.is_autocast_enabled("cpu"), scaler.state_dict())
