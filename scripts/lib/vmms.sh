# Virtual machine monitors to compare with, as their users start them: no API, no network, the same kernel,
# initramfs and disk, and a serial console that carries nothing but what the initramfs says.
# shellcheck shell=bash disable=SC2034

# Sets the array $vmm_command to what starts the VMM of this name, after writing what it reads. It will run in
# the root folder ROOT, to which its files are relative.
vmm_command() { # NAME PROGRAM ROOT KERNEL INITRAMFS DISK
	local name=$1 program=$2 root=$3 kernel=$4 initramfs=$5 disk=$6
	local words='console=ttyS0 reboot=k panic=-1 quiet'
	case $name in
	firecracker)
		python3 - "$kernel" "$initramfs" "$disk" "$words" >"$root/firecracker.json" <<-'PYTHON'
			import json, sys
			kernel, initramfs, disk, words = sys.argv[1:]
			print(json.dumps({
			    "boot-source": {
			        "kernel_image_path": kernel,
			        "initrd_path": initramfs,
			        "boot_args": words,
			    },
			    "drives": [{
			        "drive_id": "root",
			        "path_on_host": disk,
			        "is_root_device": False,
			        "is_read_only": True,
			    }],
			    "machine-config": {"vcpu_count": 1, "mem_size_mib": 128},
			}))
		PYTHON
		vmm_command=("$program" --no-api --config-file /firecracker.json)
		;;
	cloud-hypervisor)
		vmm_command=("$program" --kernel "$kernel" --initramfs "$initramfs" --cmdline "$words"
			--disk "path=$disk,readonly=on" --cpus boot=1 --memory size=128M
			--serial tty --console off)
		;;
	*) die "unknown VMM $name: firecracker or cloud-hypervisor" ;;
	esac
}
